package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/store"
	"github.com/countersign/countersign/store/audit"
)

// Environment of the test binary when it runs as a child.
const (
	envChild = "COUNTERSIGN_BOLT_CHILD" // what to do: write or fill
	envPath  = "COUNTERSIGN_BOLT_PATH"
	envKey   = "COUNTERSIGN_BOLT_KEY" // path of the audit key
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(envChild) {
	case "":
		os.Exit(m.Run())
	case "write":
		err = childWrite()
	case "fill":
		err = childFill()
	}
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
}

// childOpen opens the store that the parent test named.
func childOpen() (*Store, error) {
	k, err := audit.LoadKey(os.Getenv(envKey))
	if err != nil {
		return nil, err
	}
	return Open(os.Getenv(envPath), Options{Signer: k})
}

// childWrite writes from several goroutines until it is killed, and says each
// write that was acknowledged.
func childWrite() error {
	s, err := childOpen()
	if err != nil {
		return err
	}
	_, first, err := s.Checkpoint(context.Background())
	if err != nil {
		return err
	}
	next := atomic.Uint64{}
	next.Store(first)
	var mu sync.Mutex
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				id := fmt.Sprintf("req_%012d", next.Add(1))
				made, err := s.Create(context.Background(), id, ask)
				if err == nil {
					made, err = s.Update(context.Background(), id, noted)
				}
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Println("DONE", id, made.Version, made.LastSeq)
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

func child(t *testing.T, what, path, key string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), envChild+"="+what, envPath+"="+path, envKey+"="+key)
	return cmd
}

func savedKey(t *testing.T) (audit.Key, string) {
	t.Helper()
	k, path := testKey(t), statePath(t)+".key"
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	return k, path
}

// A process that is killed at any moment leaves a file in which every write that
// it acknowledged is there, whole, under a checkpoint that verifies.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := statePath(t)
	k, keyPath := savedKey(t)
	acknowledged := make(map[string]uint64)
	for round := range 4 {
		cmd := child(t, "write", path, keyPath)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The time runs from the first acknowledged write, so that every round
		// has something to lose.
		lines, began := bufio.NewScanner(out), false
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			if len(f) != 4 || f[0] != "DONE" {
				t.Fatalf("the child says %q", lines.Text())
			}
			seq, err := strconv.ParseUint(f[3], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			acknowledged[f[1]] = seq
			if !began {
				began = true
				time.AfterFunc(time.Duration(20+37*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // it was killed
		checkKilled(t, path, k, acknowledged)
	}
}

func checkKilled(t *testing.T, path string, k audit.Key, acknowledged map[string]uint64) {
	t.Helper()
	s, err := Open(path, Options{Signer: k})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, size, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	verifyStore(t, s, k, size)
	if len(acknowledged) == 0 {
		t.Error("no write was acknowledged: nothing was tested")
	}
	for id, seq := range acknowledged {
		r, err := s.Get(t.Context(), id)
		if err != nil || r.Version != 2 || r.LastSeq != seq {
			t.Fatalf("%s was acknowledged with entry %d and is %+v, %v", id, seq, r, err)
		}
	}
	t.Logf("%d writes acknowledged, %d entries", len(acknowledged), size)
}

// childFill writes until the file cannot grow, as on a full disk, and then
// again with room.
func childFill() error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := childOpen()
	if err != nil {
		return err
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	small := before
	small.Cur = 200 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return err
	}
	done := 0
	for ; err == nil; done++ {
		err = fill(s, done)
	}
	full := done - 1
	if !errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("write %d on a full disk: %w", full, err)
	}
	if _, err := s.Get(context.Background(), fmt.Sprintf("req_%012d", full)); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("a write that failed for want of room: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if err := fill(s, full); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	fmt.Println("FULL", full+1)
	return s.Close()
}

func fill(s *Store, n int) error {
	_, err := s.Create(context.Background(), fmt.Sprintf("req_%012d", n), func(now time.Time, r store.Request) (store.Write, error) {
		w, err := ask(now, r)
		w.Request.Canonical = []byte(strings.Repeat("x", 8<<10))
		return w, err
	})
	return err
}

// A full disk fails the write whole, and everything works once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := statePath(t)
	k, keyPath := savedKey(t)
	out, err := child(t, "fill", path, keyPath).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var n uint64
	if _, err := fmt.Sscanf(string(out), "FULL %d", &n); err != nil || n < 2 {
		t.Fatalf("the child says %q: %v", out, err)
	}
	s := openTest(t, path, Options{Signer: k})
	verifyStore(t, s, k, n)
}

// The bound of the file's size fails writes in the same way, for all that wait.
func TestMaxSize(t *testing.T) {
	t.Parallel()
	k := testKey(t)
	s := openTest(t, statePath(t), Options{Signer: k, MaxSize: 1 << 20})
	n, err := 0, error(nil)
	for ; err == nil; n++ {
		err = fill(s, n)
	}
	if !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("beyond the bound: %v, want ErrUnknown", err)
	}
	if _, err := s.Get(t.Context(), fmt.Sprintf("req_%012d", n-1)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the write that failed: %v", err)
	}
	verifyStore(t, s, k, uint64(n-1))
}
