package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestParseStatWithHostileName(t *testing.T) {
	line := "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615 0"
	s, err := parseStat(line)
	if err != nil {
		t.Fatal(err)
	}
	if s.state != 'S' || s.start != 987654 {
		t.Errorf("state %c, start %d", s.state, s.start)
	}
	for _, bad := range []string{"", "42 (sh", "42 (sh) S 1 2"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func sleeper(t *testing.T) (*exec.Cmd, Identity) {
	t.Helper()
	c := exec.Command("sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	id, err := Identify(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return c, id
}

func TestReusedPidIsNeverSignalled(t *testing.T) {
	c, id := sleeper(t)
	for _, other := range []Identity{
		{id.PID, id.Start + 1, id.Boot}, // the pid was given to a later process
		{id.PID, id.Start, "another boot"},
		{},
		{-1, id.Start, id.Boot}, // would be a whole process group
	} {
		if other.Alive() {
			t.Errorf("%v counts as alive", other)
		}
		if err := other.Stop(time.Second); err != nil {
			t.Errorf("stop %v: %v", other, err)
		}
	}
	if !id.Alive() {
		t.Fatal("the process was ended on behalf of another")
	}
	if err := id.Stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("alive after Stop")
	}
	_ = c.Wait()
}

func TestZombieIsNotAlive(t *testing.T) {
	c, id := sleeper(t)
	if err := syscall.Kill(c.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Not waited for: it stays a zombie, and kill(pid, 0) succeeds.
	if !id.waitGone(5 * time.Second) {
		t.Fatal("the zombie counts as alive")
	}
	if err := syscall.Kill(c.Process.Pid, 0); err != nil {
		t.Skip("the zombie is gone already")
	}
}

func TestStopKillsWhatIgnoresTerm(t *testing.T) {
	c := exec.Command("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done")
	ready, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	_, _ = ready.Read(make([]byte, 1)) // the trap is set
	id, err := Identify(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Stop(100 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("alive after Stop")
	}
}

func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pid")
	if id, err := Recorded(file); err != nil || id != (Identity{}) {
		t.Errorf("no file: %v, %v", id, err)
	}
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Record(file); err != nil {
		t.Fatal(err)
	}
	if id, err := Recorded(file); err != nil || id != self || !id.Alive() {
		t.Errorf("read back %v, %v; want %v, alive", id, err, self)
	}
	if err := os.WriteFile(file, []byte("12"), 0o644); err != nil {
		t.Fatal(err)
	}
	if id, err := Recorded(file); err != nil || id.Alive() {
		t.Errorf("cut short: %v, %v", id, err)
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	if os.Getenv("PARENT") == "1" { // the parent, in a process of its own
		c, err := NewSpawner().Start("sleep", os.Getenv("LOG"), exec.Command("sleep", "100"))
		if err != nil {
			t.Fatal(err)
		}
		id, err := Identify(c.PID())
		if err != nil {
			t.Fatal(err)
		}
		if err := id.Record(os.Getenv("RECORD")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
	dir := t.TempDir()
	record := filepath.Join(dir, "child.pid")
	parent := exec.Command(os.Args[0], "-test.run=^TestChildDiesWithItsParent$")
	parent.Env = append(os.Environ(), "PARENT=1", "RECORD="+record, "LOG="+filepath.Join(dir, "log"))
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child Identity
	for end := time.Now().Add(10 * time.Second); child.PID == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		child, _ = Recorded(record)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	if child.PID == 0 {
		t.Fatal("no child was started")
	}
	if !child.waitGone(5 * time.Second) {
		t.Error("the child outlives its killed parent")
		_ = child.Signal(syscall.SIGKILL)
	}
}
