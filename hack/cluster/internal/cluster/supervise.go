package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
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
	ctx     context.Context         // of this attempt to start
	fail    context.CancelCauseFunc // called when a component ends

	mu       sync.Mutex
	children []*process.Child
	stopping bool
}

// Supervise starts the cluster described by the folder's state, reports to `up` how
// it goes, and stays until it is asked to stop or a component ends.
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

// bringUp starts all there is to start.  The context it returns ends when asked
// does, or with a cause when a component ends.
func (r *run) bringUp(told context.Context) (context.Context, error) {
	const attempts = 4
	for attempt := 1; ; attempt++ {
		ctx, fail := context.WithCancelCause(told)
		r.mu.Lock()
		r.stopping, r.children, r.ctx, r.fail = false, nil, ctx, fail
		r.mu.Unlock()
		err := r.tryControlPlane(ctx)
		switch {
		case err == nil && r.state.Node:
			return ctx, r.startNode(ctx)
		case err == nil:
			return ctx, nil
		case !errors.Is(err, errPortTaken) || r.state.Node || attempt == attempts:
			return ctx, err
		case r.state.Options.Port != 0 && r.layout.portTaken("kube-apiserver", 0):
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

// A component is a program of the cluster whose end is the cluster's end, unless
// it was asked for: half a cluster makes tests fail in ways that are hard to understand.
type component struct {
	name  string
	path  string
	args  []string // the first is the program's name
	files []*os.File
	// ready reports whether it serves. It looks for signs of life that are younger
	// than since. May be nil.
	ready func(since time.Time) error
}

// applet is a component that is linked into this program.
func applet(name string, args []string, ready func(since time.Time) error) component {
	return component{name: name, path: "/proc/self/exe", args: append([]string{name}, args...), ready: ready}
}

// start starts a component of a cluster that is starting.
func (r *run) start(c component) error {
	_ = os.Remove(r.layout.log(c.name))
	_ = os.Remove(r.layout.restartRequest(c.name)) // of an earlier life
	child, id, err := r.spawn(c)
	if err == nil {
		go r.watch(c, life{child: child, id: id, ctx: r.ctx, fail: r.fail})
	}
	return err
}

// spawn makes the component's process, unless the cluster is being stopped.
func (r *run) spawn(c component) (*process.Child, process.Identity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil, process.Identity{}, errStopping
	}
	child, err := r.spawner.Start(c.name, r.layout.log(c.name), &exec.Cmd{Path: c.path, Args: c.args, ExtraFiles: c.files})
	if err != nil {
		return nil, process.Identity{}, err
	}
	r.children = append(r.children, child)
	// (An error means that it has ended already, which its watcher notices.)
	id, err := process.Identify(child.PID())
	if err != nil {
		return child, id, nil
	}
	return child, id, id.Record(r.layout.childRecord(c.name))
}

var errStopping = errors.New("the cluster is being stopped")

// A life of a component lasts from a start to the next one.
type life struct {
	child *process.Child
	id    process.Identity
	ctx   context.Context
	fail  context.CancelCauseFunc
	// Of one that was started again: since when, and where its part of the log begins.
	began time.Time
	log   int64
}

// watch waits for the end of the component's life, which is the cluster's end
// unless it was asked for.
func (r *run) watch(c component, l life) {
	<-l.child.Done
	r.mu.Lock()
	r.children = slices.DeleteFunc(r.children, func(other *process.Child) bool { return other == l.child })
	stopping := r.stopping
	r.mu.Unlock()
	if stopping {
		return
	}
	if request, asked := r.layout.restartAsked(c.name, l.id); asked {
		r.progress("%s was ended as asked; it comes back in %s", c.name, request.Pause)
		time.Sleep(request.Pause)
		if err := r.again(c, l, request); err != nil {
			l.fail(fmt.Errorf("%s, started again: %w", c.name, err))
		}
		return
	}
	err := fmt.Errorf("%s ended (%w): see %s", c.name, l.child.Err, r.layout.log(c.name))
	if r.layout.portTaken(c.name, l.log) {
		err = fmt.Errorf("%w: %w", err, errPortTaken)
	}
	l.fail(err)
}

// again restarts a component and reports to who asked for that when it is ready.
func (r *run) again(c component, l life, request restart) error {
	const limit, busy = 2 * time.Minute, 10 * time.Second
	l.began, l.log = time.Now(), r.layout.logSize(c.name)
	for {
		var err error
		if l.child, l.id, err = r.spawn(c); err != nil {
			return err
		}
		// Another process may have taken its port meanwhile, and give it back.
		select {
		case <-l.child.Done:
		case <-time.After(300 * time.Millisecond):
		}
		if !l.child.Ended() || !r.layout.portTaken(c.name, l.log) || time.Since(l.began) > busy {
			break
		}
		l.log = r.layout.logSize(c.name)
	}
	go r.watch(c, l)
	if c.ready != nil {
		what := c.name + " ready"
		if err := eventually(l.ctx, what, limit, func() error { return c.ready(l.began) }); err != nil {
			return err
		}
	}
	r.progress("%s is back", c.name)
	return r.layout.restartDone(c.name, request)
}

// stop ends all components.  Only etcd holds data, so it alone gets the time to
// end by itself, after everything that uses it.
func (r *run) stop() {
	r.mu.Lock()
	r.stopping = true
	children := slices.Clone(r.children)
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

// progress reports to `up`, which may be gone by now, and the supervisor's own log.
func (r *run) progress(format string, args ...any) {
	line := fmt.Sprintf("[%5.1fs] %s", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	fmt.Fprintln(os.Stderr, line)
	fmt.Fprintln(r.report, line)
}

// recordSelf writes down this process as the host knows it: in new namespaces
// getpid answers 1, but the link still leads through the host's /proc as long as
// that has not been mounted again.
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
