package chattest

import (
	"fmt"
	"testing"
	"time"

	"github.com/countersign/countersign/bot/chat"
)

// testFaults goes through the table of errors, each in a world of its own.
func testFaults(t *testing.T, fresh func(t testing.TB) *Harness) {
	for n, f := range fresh(t).Faults {
		t.Run(string(f.Op)+" "+f.Name, func(t *testing.T) {
			t.Parallel()
			h := fresh(t)
			f := h.Faults[n]
			ref := post(t, h, Sample("d-before"))
			f.Arm(t)
			err := do(t, h, f.Op, ref)
			if err == nil {
				t.Fatal("no error")
			}
			h.clean(t, err.Error(), fmt.Sprintf("%+v", err))
			if got := chat.ClassOf(err); got != f.Want {
				t.Errorf("%v is %v, not %v", err, got, f.Want)
			}
			var e *chat.Error
			if e, _ = err.(*chat.Error); e == nil {
				t.Fatalf("%T is no *chat.Error", err)
			}
			if f.Want == chat.RateLimited && (f.After != e.After || e.After <= 0) {
				t.Errorf("wait %v, not %v", e.After, f.After)
			}
			if e.Code == "" || e.Op == "" {
				t.Errorf("%+v says too little", e)
			}
		})
	}
}

func do(t *testing.T, h *Harness, op Op, ref string) error {
	t.Helper()
	var err error
	switch op {
	case OpPost:
		_, err = h.Platform.Post(t.Context(), h.Channel, Sample("d-fault"))
	case OpUpdate:
		err = h.Platform.Update(t.Context(), ref, decided(Sample("d-before")))
	case OpNote:
		err = h.Platform.Note(t.Context(), ref, "a note")
	case OpAttach:
		err = h.Platform.Attach(t.Context(), ref, chat.File{Name: "f", Text: []byte("text")})
	case OpFind:
		_, err = h.Platform.Find(t.Context(), h.Channel, "d-before", time.Now().Add(-time.Hour))
	case OpMember:
		_, err = h.Platform.Member(t.Context(), h.Person)
	case OpCheck:
		err = h.Platform.Check(t.Context(), h.Channel)
	default:
		t.Fatalf("no such method: %s", op)
	}
	return err
}
