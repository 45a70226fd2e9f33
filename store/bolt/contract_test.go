package bolt

import (
	"path/filepath"
	"testing"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/storetest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		k, clock := testKey(t), storetest.NewClock()
		path := filepath.Join(t.TempDir(), "state.db")
		current, err := Open(path, Options{Signer: k, Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := current.Close(); err != nil {
				t.Error(err)
			}
		})
		return storetest.Harness{
			Store: current, Clock: clock, Verifier: k.Verifier(),
			Reopen: func(t *testing.T) store.Store {
				if err := current.Close(); err != nil {
					t.Fatal(err)
				}
				if current, err = Open(path, Options{Signer: k, Now: clock.Now}); err != nil {
					t.Fatal(err)
				}
				return current
			},
		}
	})
}
