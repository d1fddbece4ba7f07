package cluster

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func layout(t *testing.T) Layout {
	t.Helper()
	l, err := NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNamesDeriveFromTheFolder(t *testing.T) {
	a, _ := NewLayout("/tmp/a")
	same, _ := NewLayout("/tmp/x/../a/")
	b, _ := NewLayout("/tmp/b")
	if a.NetNS() != same.NetNS() || a.Cgroup() != same.Cgroup() {
		t.Error("two ways to write a path make two clusters")
	}
	if a.NetNS() == b.NetNS() || a.Cgroup() == b.Cgroup() {
		t.Error("two clusters share names")
	}
	if _, err := NewLayout(""); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("no folder: %v", err)
	}
}

func TestNameIsTheSameBeforeAndAfter(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	before, _ := NewLayout(filepath.Join(link, "x", "c"))
	if err := os.MkdirAll(before.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	after, _ := NewLayout(filepath.Join(link, "x", "c"))
	if before != after || after.Dir != filepath.Join(real, "x", "c") {
		t.Errorf("%v, then %v", before, after)
	}
}

func TestForeignFolderIsNeverTouched(t *testing.T) {
	l := layout(t)
	file := l.path("precious")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Up(context.Background(), l, Options{}, os.Stderr); err == nil || !strings.Contains(err.Error(), "choose another --dir") {
		t.Errorf("up: %v", err)
	}
	if err := Down(l, false); err == nil {
		t.Error("down: no error")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestDownWithoutClusterSucceeds(t *testing.T) {
	l := layout(t)
	l.Dir += "/none"
	for range 2 {
		if err := Down(l, false); err != nil {
			t.Error(err)
		}
	}
	s, err := Inspect(l)
	if err != nil || s.Ready || !strings.Contains(s.Reason, "cluster up") {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestLockSurvivesRemovalOfTheFolder(t *testing.T) {
	l := layout(t)
	l.Dir += "/c"
	release, err := l.lock(true)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		again, err := l.lock(true)
		if err == nil {
			_, err = os.Stat(l.Dir) // what is locked must be what is there
			again()
		}
		got <- err
	}()
	time.Sleep(50 * time.Millisecond) // (the other one waits by now, mostly)
	select {
	case <-got:
		t.Fatal("locked twice")
	default:
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestMountsBelow(t *testing.T) {
	table := filepath.Join(t.TempDir(), "mounts")
	content := "a /c ext4 rw 0 0\nb /c/x tmpfs rw 0 0\nc /c/x/with\\040space tmpfs rw 0 0\nd /cc tmpfs rw 0 0\n"
	if err := os.WriteFile(table, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := mountsBelow(table, "/c")
	if want := []string{"/c/x/with space", "/c/x"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNodeFilesAreFilledIn(t *testing.T) {
	l := layout(t)
	for name, content := range l.nodeFiles() {
		for _, line := range strings.Split(content, "\n") {
			if i := strings.Index(line, "{"); i >= 0 && i+1 < len(line) && line[i+1] >= 'A' && line[i+1] <= 'Z' {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	if !strings.Contains(l.cniConfig("10.244.3.0/24"), `"subnet": "10.244.3.0/24"`) {
		t.Error("no subnet")
	}
}

func TestPortIsKeptFromOneStartToTheNext(t *testing.T) {
	first, err := pickPorts(&State{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := pickPorts(&State{APIPort: first.api})
	if err != nil || second.api != first.api {
		t.Errorf("%d, then %d, %v", first.api, second.api, err)
	}
	busy, err := listenOnPort(0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	state := &State{}
	for _, c := range busy.Addr().String()[strings.LastIndex(busy.Addr().String(), ":")+1:] {
		state.APIPort = state.APIPort*10 + int(c-'0')
	}
	if third, err := pickPorts(state); err != nil || third.api == state.APIPort {
		t.Errorf("a busy port was picked: %+v, %v", third, err)
	}
}

func TestParseImageList(t *testing.T) {
	got := parseImageList("REF TYPE DIGEST SIZE PLATFORMS LABELS\nlocalhost/a:1 application/x sha256:aa 1.2 KiB linux/amd64 -\n")
	if want := map[string]string{"localhost/a:1": "sha256:aa"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestEventuallyTellsTheCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("etcd ended")
	cancel(cause)
	if err := eventually(ctx, "x", time.Minute, func() error { return errors.New("no") }); err != cause {
		t.Errorf("%v", err)
	}
	err := eventually(context.Background(), "the node ready", 0, func() error { return errors.New("no network") })
	if err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("%v", err)
	}
}

// TestKey runs the build script on a copy of the sources.
func TestKey(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, f := range []string{"build", "go.mod", "go.sum", "main.go"} {
		b, err := os.ReadFile(filepath.Join("../..", f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	key := func() string {
		t.Helper()
		out, err := exec.Command("bash", filepath.Join(dir, "build"), "--key").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	add := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package main\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	first := key()
	add("more_test.go")
	add("README.md")
	if key() != first {
		t.Error("tests or notes cause a build")
	}
	add("more.go")
	if key() == first {
		t.Error("a changed source causes no build")
	}
}
