package cluster

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// supervised starts a component as the supervisor does.
func supervised(t *testing.T, args ...string) (*run, context.Context) {
	t.Helper()
	l := layout(t)
	for _, d := range []string{"log", "run"} {
		if err := os.Mkdir(l.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, fail := context.WithCancelCause(context.Background())
	r := &run{layout: l, spawner: process.NewSpawner(), began: time.Now(), report: os.Stderr, ctx: ctx, fail: fail}
	t.Cleanup(r.stop)
	if err := r.start(component{name: "x", path: args[0], args: args}); err != nil {
		t.Fatal(err)
	}
	return r, ctx
}

func recorded(t *testing.T, r *run) process.Identity {
	t.Helper()
	id, err := process.Recorded(r.layout.childRecord("x"))
	if err != nil || !id.Alive() {
		t.Fatalf("%v does not run (%v)", id, err)
	}
	return id
}

func ends(t *testing.T, ctx context.Context) string {
	t.Helper()
	select {
	case <-ctx.Done():
		return context.Cause(ctx).Error()
	case <-time.After(10 * time.Second):
		t.Fatal("the cluster goes on")
		return ""
	}
}

func TestComponentComesBackOnlyWhenAsked(t *testing.T) {
	r, ctx := supervised(t, "/bin/sleep", "100")
	first := recorded(t, r)
	const pause = 200 * time.Millisecond
	if err := r.layout.askRestart("x", restart{Process: first, Pause: pause}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := first.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := r.layout.awaitRestart(child{name: "x", inside: first}, recordedSelf(t), time.Now().Add(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) < pause {
		t.Error("no pause")
	}
	second := recorded(t, r)
	if second == first || ctx.Err() != nil {
		t.Fatalf("%v, then %v, %v", first, second, context.Cause(ctx))
	}
	// The request was for the first process and not for this one.
	if err := r.layout.askRestart("x", restart{Process: first}); err != nil {
		t.Fatal(err)
	}
	if err := second.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if why := ends(t, ctx); !strings.Contains(why, "x ended") {
		t.Error(why)
	}
}

func recordedSelf(t *testing.T) process.Identity {
	t.Helper()
	id, err := process.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestComponentThatFailsAfterARestartEndsTheCluster(t *testing.T) {
	once := t.TempDir() + "/once"
	r, ctx := supervised(t, "/bin/sh", "-c", "mkdir "+once+" && exec sleep 100; exit 3")
	first := recorded(t, r)
	for range 100 { // until it is there to fail the second time
		if _, err := os.Stat(once); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := r.layout.askRestart("x", restart{Process: first}); err != nil {
		t.Fatal(err)
	}
	if err := first.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if why := ends(t, ctx); !strings.Contains(why, "exit status 3") {
		t.Error(why)
	}
}

func TestRequestThatWasReplacedStays(t *testing.T) {
	l := layout(t)
	if err := os.Mkdir(l.path("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := restart{Process: process.Identity{PID: 1, Start: 2, Boot: "b"}}
	second := restart{Process: process.Identity{PID: 3, Start: 4, Boot: "b"}}
	if err := l.askRestart("x", second); err != nil {
		t.Fatal(err)
	}
	if err := l.restartDone("x", first); err != nil {
		t.Fatal(err)
	}
	if _, asked := l.restartAsked("x", second.Process); !asked {
		t.Error("it is gone")
	}
	if err := l.restartDone("x", second); err != nil {
		t.Fatal(err)
	}
	if _, asked := l.restartAsked("x", second.Process); asked {
		t.Error("it is still there")
	}
}

func TestNodeIsReadyWhenHeardOf(t *testing.T) {
	var n node
	heard := time.Now().Truncate(time.Second)
	n.Status.Conditions = append(n.Status.Conditions, struct {
		Type, Status, Message string
		LastHeartbeatTime     time.Time
	}{Type: "Ready", Status: "True", LastHeartbeatTime: heard})
	if err := n.readyError(heard.Add(999 * time.Millisecond)); err != nil {
		t.Error(err)
	}
	if err := n.readyError(heard.Add(time.Second)); err == nil {
		t.Error("an old word counts")
	}
}
