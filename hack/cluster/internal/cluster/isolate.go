package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hiddenFolders are replaced, for the node alone, by separate folders.  The
// container runtime and the kubelet keep sockets, logs and lists there under
// fixed or short names; this way several nodes do not meet, nothing of theirs
// stays on the host, and socket paths fit however long the cluster's path is.
var hiddenFolders = []string{"/run", "/var/lib", "/var/log"}

// volumesFolder is fixed in the controller manager's host-path provisioner.
const volumesFolder = "/tmp/hostpath_pv"

// kernelSettings are machine-wide and set by every kubelet.  It gets to see
// files which hold what it wants, and the machine's settings stay untouched.
var kernelSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// Init is the first process of a node's namespaces.  It furnishes them, runs the
// supervisor and reaps every process orphaned inside; when it ends, by any
// cause, the kernel ends everything in there.
func Init(l Layout) error {
	if os.Getpid() != 1 {
		return errors.New("this command is for `cluster up --node` alone")
	}
	if err := recordSelf(l.record(rootRecord)); err != nil {
		return err
	}
	if err := isolateMounts(l); err != nil {
		return fmt.Errorf("mounts of the node: %w", err)
	}
	if err := makeNetwork(); err != nil {
		return fmt.Errorf("network of the node: %w", err)
	}
	// Signals must have a handler before there is a process to pass them to: the
	// first process of a namespace ignores those without.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	supervisor := &exec.Cmd{
		Path:   "/proc/self/exe",
		Args:   []string{os.Args[0], "supervise", "--dir", l.Dir},
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		ExtraFiles: []*os.File{
			os.NewFile(progressFD, "progress"), os.NewFile(listenerFD, "listener"),
		},
	}
	if err := supervisor.Start(); err != nil {
		return err
	}
	for _, f := range supervisor.ExtraFiles {
		f.Close() // else `up` would wait for this process to close them
	}
	go func() {
		for s := range signals {
			_ = supervisor.Process.Signal(s)
		}
	}()
	// Not Cmd.Wait: it could take away the status of others.
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == supervisor.Process.Pid && status.ExitStatus() != 0:
			return fmt.Errorf("the supervisor ended with status %#x", uint32(status))
		case pid == supervisor.Process.Pid:
			return nil
		}
	}
}

func isolateMounts(l Layout) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// The cluster's folder may lie in one that is about to be hidden.
	dir, err := unix.Open(l.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := bind(l.node("volumes"), volumesFolder); err != nil {
		return err
	}
	for _, hidden := range hiddenFolders {
		if err := bind(l.node("root", hidden), hidden); err != nil {
			return err
		}
		if strings.HasPrefix(l.Dir, hidden+"/") {
			if err := os.MkdirAll(l.Dir, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", dir), l.Dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("show %s again: %w", l.Dir, err)
			}
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc of the node: %w", err)
	}
	for name, value := range kernelSettings {
		stand := l.node("sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(stand), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(stand, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(stand, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("stand-in for /proc/sys/%s: %w", name, err)
		}
	}
	// Volumes with mount propagation need what every system manager sets up.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// bind makes both folders and shows the first at the place of the second.
func bind(source, target string) error {
	for _, d := range []string{source, target} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}

// makeNetwork gives the namespace the node's address.  A bridge without ports
// holds it, since not every kernel has dummy devices.  The default route leads
// nowhere; the kubelet and Service addresses need one to exist.
func makeNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "node0"
	link := &netlink.Bridge{LinkAttrs: attributes}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("bridge %s: %w", attributes.Name, err)
	}
	address, err := netlink.ParseAddr(NodeIP + "/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Index, Scope: netlink.SCOPE_LINK, Dst: everywhere}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644)
}
