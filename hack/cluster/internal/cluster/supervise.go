package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// Files handed over by `up`; 0 to 2 are the standard ones.
const (
	progressFD = 3
	listenerFD = 4 // with a node: the API's listener on the host
)

// A run is one life of a cluster, in the supervisor's process.
type run struct {
	layout  Layout
	state   *State
	spawner *process.Spawner
	began   time.Time
	report  *os.File
	api     *apiClient
	fail    context.CancelCauseFunc // called when a component ends

	mu       sync.Mutex
	children []*process.Child
	stopping bool
}

// Supervise starts the cluster described by the folder's state, tells `up` how
// it goes, and stays until it is told to stop or a component ends.
func Supervise(l Layout) error {
	state, err := l.loadState()
	if err != nil {
		return err
	}
	if state == nil {
		return fmt.Errorf("no cluster in %s; this command is for `cluster up` alone", l.Dir)
	}
	r := &run{layout: l, state: state, spawner: process.NewSpawner(), began: time.Now(), report: os.NewFile(progressFD, "progress")}
	if !state.Node {
		// (with a node, the first process of its namespaces has done so)
		if err := recordSelf(l.record(rootRecord)); err != nil {
			return err
		}
	}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	keepDescriptors()

	ctx, err := r.bringUp(told)
	if err == nil {
		r.state.Ready = true
		err = l.saveState(r.state)
	}
	if err == nil {
		fmt.Fprintln(r.report, readyLine)
		r.report.Close()
		<-ctx.Done()
		err = context.Cause(ctx)
	}
	r.stop()
	if told.Err() != nil {
		return nil // asked to
	}
	_ = os.WriteFile(l.failureFile(), []byte(err.Error()+"\n"), 0o644)
	return err
}

// readyLine ends the supervisor's report to `up`.
const readyLine = "READY"

// bringUp starts all there is to start.  The context it returns ends when told
// does, or with a cause when a component ends.
func (r *run) bringUp(told context.Context) (context.Context, error) {
	const attempts = 4
	for attempt := 1; ; attempt++ {
		ctx, fail := context.WithCancelCause(told)
		r.mu.Lock()
		r.stopping, r.children, r.fail = false, nil, fail
		r.mu.Unlock()
		err := r.tryControlPlane(ctx)
		switch {
		case err == nil && r.state.Node:
			return ctx, r.startNode(ctx)
		case err == nil:
			return ctx, nil
		case !errors.Is(err, errPortTaken) || r.state.Node || attempt == attempts:
			return ctx, err
		case r.state.Options.Port != 0 && r.layout.portTaken("kube-apiserver"):
			return ctx, fmt.Errorf("port %d is in use: choose another --port, or leave it out", r.state.Options.Port)
		}
		r.progress("another program took one of the ports; trying others")
		r.state.APIPort = 0
		r.stop()
	}
}

func (r *run) tryControlPlane(ctx context.Context) error {
	p, err := pickPorts(r.state)
	if err != nil {
		return err
	}
	r.state.APIPort = p.api
	if err := r.layout.saveState(r.state); err != nil {
		return err
	}
	if err := r.layout.makePKI(r.state.endpoints()); err != nil {
		return err
	}
	r.progress("certificates are made")
	if r.state.Node {
		if err := r.prepareNode(); err != nil {
			return err
		}
	}
	return r.startControlPlane(ctx, p)
}

// start runs an applet of this program as a component of the cluster.
func (r *run) start(name string, args []string) error {
	return r.startCommand(name, &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{name}, args...)})
}

// startCommand runs a component whose end is the cluster's end: half a cluster
// makes tests fail in ways nobody understands.
func (r *run) startCommand(name string, cmd *exec.Cmd) error {
	_ = os.Remove(r.layout.log(name))
	child, err := r.spawner.Start(name, r.layout.log(name), cmd)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.children = append(r.children, child)
	r.mu.Unlock()
	// (An error means that it has ended already, which is noticed below.)
	if id, err := process.Identify(child.PID()); err == nil {
		if err := id.Record(r.layout.childRecord(name)); err != nil {
			return err
		}
	}
	fail := r.fail
	go func() {
		<-child.Done
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.stopping {
			return
		}
		err := fmt.Errorf("%s ended (%w): see %s", name, child.Err, r.layout.log(name))
		if r.layout.portTaken(name) {
			err = fmt.Errorf("%w: %w", err, errPortTaken)
		}
		fail(err)
	}()
	return nil
}

// stop ends all components.  Only etcd holds data, so it alone gets the time to
// end by itself, after everything that uses it.
func (r *run) stop() {
	r.mu.Lock()
	r.stopping = true
	children := r.children
	r.mu.Unlock()
	var etcd *process.Child
	for _, c := range children {
		if c.Name == "etcd" {
			etcd = c
			continue
		}
		c.Signal(syscall.SIGKILL)
	}
	for _, c := range children {
		if c != etcd {
			<-c.Done
		}
	}
	if etcd == nil {
		return
	}
	etcd.Signal(syscall.SIGTERM)
	select {
	case <-etcd.Done:
	case <-time.After(5 * time.Second):
		etcd.Signal(syscall.SIGKILL)
		<-etcd.Done
	}
}

// progress tells `up`, which may be gone by now, and the supervisor's own log.
func (r *run) progress(format string, args ...any) {
	line := fmt.Sprintf("[%5.1fs] %s", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	fmt.Fprintln(os.Stderr, line)
	fmt.Fprintln(r.report, line)
}

// recordSelf writes down this process as the host knows it: in new namespaces
// getpid answers 1, but the link still leads through the host's /proc as long as
// that has not been mounted anew.
func recordSelf(file string) error {
	var pid int
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(link, &pid); err != nil {
		return err
	}
	id, err := process.Identify(pid)
	if err != nil {
		return err
	}
	return id.Record(file)
}
