package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/ociimage"
	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// Up makes the cluster run and returns when it is ready.  On a running one it
// does nothing; what a killed one has left is cleaned up first, its data kept.
func Up(ctx context.Context, l Layout, o Options, progress io.Writer) error {
	release, err := l.lock(true)
	if err != nil {
		return err
	}
	defer release()
	previous, err := l.loadState()
	if err != nil {
		return err
	}
	if previous != nil {
		root, err := process.Recorded(l.record(rootRecord))
		if err != nil {
			return err
		}
		if previous.Ready && root.Alive() {
			if o.Node && !previous.Node {
				return fmt.Errorf("the cluster in %s runs without a node: `cluster down --dir %s` first", l.Dir, l.Dir)
			}
			fmt.Fprintln(progress, "the cluster runs already")
			return nil
		}
		if err := l.stopEverything(); err != nil {
			return fmt.Errorf("clean up what an earlier run left: %w", err)
		}
		fmt.Fprintln(progress, "cleaned up after an earlier run; starting again with its data")
		if previous.Node != o.Node {
			return fmt.Errorf("the data in %s are of a cluster with node=%v: `cluster down --dir %s` first, or pick another --dir", l.Dir, previous.Node, l.Dir)
		}
	}
	if err := errors.Join(checkPort(o), checkPrerequisites(l, o)); err != nil {
		if previous == nil {
			_ = os.Remove(l.Dir) // it is empty, and nobody asked for an empty folder
		}
		return err
	}
	state := &State{Options: o}
	if previous != nil {
		state.APIPort = previous.APIPort // if still free: kubeconfigs copied away stay good
	}
	if err := l.launch(ctx, state, progress); err != nil {
		if stopErr := l.stopEverything(); stopErr != nil {
			err = errors.Join(err, stopErr)
		}
		return fmt.Errorf("%w\nLogs are in %s; `cluster down --dir %s` removes everything", err, l.path("log"), l.Dir)
	}
	return nil
}

// listenAPI opens the API's port on the host: the one asked for, or the one used
// before, or any.
func listenAPI(s *State) (net.Listener, error) {
	if s.Options.Port != 0 {
		l, err := listenOnPort(s.Options.Port)
		if err != nil {
			err = fmt.Errorf("%w: choose another --port, or leave it out", err)
		}
		return l, err
	}
	if l, err := listenOnPort(s.APIPort); err == nil {
		return l, nil
	}
	return listenOnPort(0)
}

// checkPort rejects the ports of the node's own programs: the API has the same
// port in the cluster's network as on the host.
func checkPort(o Options) error {
	if taken := []int{dnsPort, 2379, 2380, dnsReady}; o.Node && (slices.Contains(taken, o.Port) || o.Port >= 10240 && o.Port < 10270) {
		return fmt.Errorf("port %d is used by the node itself: choose another --port", o.Port)
	}
	return nil
}

func listenOnPort(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// environment is that of the supervisor and all components: above all without
// proxies, and with the settings of Go's garbage collector.
func environment() []string {
	all := []string{"PATH=" + searchPath(), "HOME=" + os.Getenv("HOME")}
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if value, is := os.LookupEnv(name); is {
			all = append(all, name+"="+value)
		}
	}
	return all
}

// launch starts the supervisor, in namespaces of its own if there is a node, and
// follows its report.
func (l Layout) launch(ctx context.Context, s *State, progress io.Writer) error {
	for _, d := range []string{"log", "run"} {
		if err := os.MkdirAll(l.path(d), 0o755); err != nil {
			return err
		}
	}
	_ = os.Remove(l.failureFile())
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	command := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{"cluster", "supervise", "--dir", l.Dir},
		Env:         environment(),
		Dir:         "/",
		ExtraFiles:  []*os.File{writer},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if s.Node {
		listener, err := listenAPI(s)
		if err != nil {
			return err
		}
		defer listener.Close()
		s.APIPort = listener.Addr().(*net.TCPAddr).Port
		file, err := listener.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		defer file.Close()
		if err := l.writePauseArchive(); err != nil {
			return err
		}
		// Reserved before anything is mounted: see removeSharedFolders.
		if err := reserveNetNS(l.NetNS()); err != nil {
			return err
		}
		command.Args[1] = "init"
		command.ExtraFiles = append(command.ExtraFiles, file)
		command.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET
	}
	if err := l.saveState(s); err != nil {
		return err
	}
	keepDescriptors()
	log, err := os.Create(l.log("supervisor"))
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	writer.Close()
	// (Reaped here if it ends early; else it outlives this process.)
	go func() { _ = command.Wait() }()
	if s.Node {
		if err := nameNetNS(l.NetNS(), command.Process.Pid); err != nil {
			return err
		}
	}
	return l.follow(ctx, reader, progress)
}

// follow copies the supervisor's report until the cluster is ready.
func (l Layout) follow(ctx context.Context, report *os.File, progress io.Writer) error {
	defer context.AfterFunc(ctx, func() { report.Close() })()
	for lines := bufio.NewScanner(report); lines.Scan(); {
		if lines.Text() == readyLine {
			return nil
		}
		fmt.Fprintln(progress, lines.Text())
	}
	if ctx.Err() != nil {
		return errors.New("interrupted while starting")
	}
	time.Sleep(50 * time.Millisecond) // the reason is written after the pipe is closed
	reason, err := os.ReadFile(l.failureFile())
	if err != nil {
		reason, _ = os.ReadFile(l.log("supervisor"))
	}
	message := strings.TrimSpace(string(reason))
	if _, rest, ok := strings.Cut(message, "see "); ok {
		logFile, _, _ := strings.Cut(rest, ".log")
		message += "\n" + lastErrors(logFile+".log")
	}
	return errors.New("the cluster did not start: " + message)
}

// lastErrors picks the lines out of a component's log that most likely say why
// it ended.
func lastErrors(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	const most = 6
	var picked []string
	for line := range strings.Lines(string(bytes.TrimSpace(b))) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "E") || strings.HasPrefix(line, "F") || strings.Contains(strings.ToLower(line), "error") ||
			strings.Contains(line, "fatal") || strings.Contains(line, "panic") {
			picked = append(picked, "  | "+line)
		}
	}
	return strings.Join(picked[max(0, len(picked)-most):], "\n")
}

// writePauseArchive makes the image of pod sandboxes from the program built
// beside this one.
func (l Layout) writePauseArchive() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pause := filepath.Join(filepath.Dir(self), "pause")
	if _, err := os.Stat(pause); err != nil {
		return fmt.Errorf("%w: it is built beside this program by hack/cluster/build", err)
	}
	if err := os.MkdirAll(l.node(), 0o755); err != nil {
		return err
	}
	_, err = ociimage.Write(l.pauseArchive(), ociimage.Image{
		Ref: pauseImage, Files: map[string]string{"/pause": pause}, Entrypoint: []string{"/pause"}, User: "65535:65535",
	})
	return err
}

// keepDescriptors stops children that outlive this process from inheriting what
// its caller has open, such as a lock, or a pipe whose end is waited for.
func keepDescriptors() {
	const firstExtra = 3
	_ = unix.CloseRange(firstExtra, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
}

const netnsFolder = "/run/netns"

func reserveNetNS(name string) error {
	if err := os.MkdirAll(netnsFolder, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(netnsFolder, name), os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// nameNetNS lets `ip netns` and `nsenter` find the network of the process.
func nameNetNS(name string, pid int) error {
	file := filepath.Join(netnsFolder, name)
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("name the network namespace %s: %w", name, err)
	}
	return nil
}

func forgetNetNS(name string) error {
	file := filepath.Join(netnsFolder, name)
	for unix.Unmount(file, unix.MNT_DETACH) == nil {
		continue // once for every time it was mounted
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
