package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/ociimage"
	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// running returns the state and first process of a cluster that is up.
func (l Layout) running() (*State, process.Identity, error) {
	state, err := l.loadState()
	if err != nil {
		return nil, process.Identity{}, err
	}
	root, err := process.Recorded(l.record(rootRecord))
	if err != nil {
		return nil, root, err
	}
	if state == nil || !state.Ready || !root.Alive() {
		return nil, root, fmt.Errorf("no cluster runs in %s: start it with `cluster up --dir %s`", l.Dir, l.Dir)
	}
	return state, root, nil
}

// enter moves the calling thread, which the caller has locked, into a namespace
// of the process.  Children it starts then live there too.
func enter(pid int, kind string, flag int) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		return err
	}
	defer f.Close()
	if flag == unix.CLONE_NEWNS {
		// Threads share their working folder and root, and the kernel wants
		// those unshared before it changes the mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
	}
	if err := unix.Setns(int(f.Fd()), flag); err != nil {
		return fmt.Errorf("enter the cluster's %s namespace: %w", kind, err)
	}
	return nil
}

// Exec becomes the command, in the cluster's network if it has a separate one.
// Names are then looked up at the cluster's name server; everything else is the
// host's.
func Exec(l Layout, argv []string) error {
	state, root, err := l.running()
	if err != nil {
		return err
	}
	if err := os.Setenv("KUBECONFIG", l.InsideKubeconfig()); err != nil {
		return err
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	if state.Node {
		// Never unlocked: this thread is what becomes the command.
		runtime.LockOSThread()
		if err := enter(root.PID, "net", unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := useClusterDNS(l.node("resolv.conf")); err != nil {
			fmt.Fprintln(os.Stderr, "cluster exec: names are looked up as on the host:", err)
		}
	}
	return syscall.Exec(program, argv, os.Environ())
}

// useClusterDNS shows the thread, and no other one, another resolv.conf.
func useClusterDNS(file string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	return unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, "")
}

// Forward makes listen, an address on the host, lead to an address in the
// cluster's network, until the cluster goes down.
func Forward(l Layout, listen, to string) (string, error) {
	if _, _, err := net.SplitHostPort(to); err != nil {
		return "", fmt.Errorf("--to %q: give HOST:PORT, such as %s:8080", to, NodeIP)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", fmt.Errorf("%w (--listen 127.0.0.1:0 takes any free port)", err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return "", err
	}
	defer file.Close()
	address := listener.Addr().(*net.TCPAddr)
	name := "forward-" + strconv.Itoa(address.Port)
	return address.String(), l.spawn(name, &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{"cluster", "relay", "--fd", "3", "--to", to},
		ExtraFiles: []*os.File{file},
	})
}

// Run starts a command in the cluster's network that runs until the cluster
// goes down, with its output in the cluster's log folder.
func Run(l Layout, name string, argv []string) (logFile string, err error) {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`).MatchString(name) || name == rootRecord {
		return "", fmt.Errorf("--name %q: use small letters, digits and dashes", name)
	}
	before, err := process.Recorded(l.record(name))
	if err != nil {
		return "", err
	}
	if before.Alive() {
		return "", fmt.Errorf("%q runs already (pid %d): choose another --name", name, before.PID)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	// By way of exec, for the same surroundings as a command run by hand.
	return l.log(name), l.spawn(name, exec.Command(self, append([]string{"exec", "--dir", l.Dir, "--"}, argv...)...))
}

// spawn starts a recorded process that outlives this one.
func (l Layout) spawn(name string, command *exec.Cmd) error {
	state, root, err := l.running()
	if err != nil {
		return err
	}
	log, err := os.Create(l.log(name))
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepDescriptors()
	runtime.LockOSThread() // and the thread is thrown away with this process
	if state.Node {
		if err := enter(root.PID, "net", unix.CLONE_NEWNET); err != nil {
			return err
		}
	}
	if err := command.Start(); err != nil {
		return err
	}
	id, err := process.Identify(command.Process.Pid)
	if err == nil {
		err = id.Record(l.record(name))
	}
	if err != nil {
		_ = command.Process.Kill()
		return err
	}
	// A command that cannot work mostly ends at once: better reported now.
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		output, _ := os.ReadFile(l.log(name))
		return fmt.Errorf("%s ended at once (%v): %s", name, err, strings.TrimSpace(string(output)))
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

// Load imports OCI archives into the node and reports for each image whether it
// was imported or already there.
func Load(l Layout, archives []string, tell func(string)) error {
	state, root, err := l.running()
	if err != nil {
		return err
	}
	if !state.Node {
		return errors.New("this cluster has no node to load images into: start one with `cluster up --node`")
	}
	for i, a := range archives {
		if archives[i], err = filepath.Abs(a); err != nil {
			return err
		}
	}
	if err := os.Setenv("PATH", searchPath()); err != nil {
		return err
	}
	for _, archive := range archives {
		wanted, err := ociimage.Names(archive)
		if err != nil {
			return err
		}
		file, err := os.Open(archive) // before the host's folders are out of sight
		if err != nil {
			return err
		}
		err = onThread(func() error {
			if err := enter(root.PID, "mnt", unix.CLONE_NEWNS); err != nil {
				return err
			}
			return importArchive(file, wanted, tell)
		})
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
	}
	return nil
}

// onThread runs f on a separate thread that is thrown away afterwards.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func importArchive(archive *os.File, wanted map[string]string, tell func(string)) error {
	ctr := func(args ...string) *exec.Cmd {
		return exec.Command("ctr", append([]string{"--namespace", "k8s.io", "images"}, args...)...)
	}
	listing, err := ctr("list").Output()
	if err != nil {
		return fmt.Errorf("list the node's images: %w", err)
	}
	have := parseImageList(string(listing))
	missing := len(wanted) == 0
	for name, digest := range wanted {
		if have[name] == digest {
			tell(name + " is there already")
			continue
		}
		missing = true
	}
	if !missing {
		return nil
	}
	command := ctr("import", "-")
	command.Stdin = archive
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr images import: %w: %s", err, output)
	}
	for name, digest := range wanted {
		if have[name] != digest {
			tell(name + " is imported")
		}
	}
	return nil
}

// parseImageList reads `ctr images list`: REF TYPE DIGEST ….
func parseImageList(listing string) map[string]string {
	digests := map[string]string{}
	for line := range strings.Lines(listing) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "sha256:") {
			digests[f[0]] = f[2]
		}
	}
	return digests
}
