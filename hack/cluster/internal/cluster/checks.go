package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// needed lists what a node calls, and the Debian package that has it.
var needed = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{cniPlugins + "/bridge", "containernetworking-plugins"},
	{cniPlugins + "/host-local", "containernetworking-plugins"},
	{cniPlugins + "/loopback", "containernetworking-plugins"},
	{cniPlugins + "/portmap", "containernetworking-plugins"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"mount", "mount"},
}

const (
	spaceControlPlane = 500 << 20
	spaceNode         = 3 << 30
)

// searchPath is PATH with the folders of system programs, which the PATH of an
// ordinary shell leaves out.
func searchPath() string {
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if !strings.Contains(":"+path+":", ":"+dir+":") {
			path += ":" + dir
		}
	}
	return strings.TrimPrefix(path, ":")
}

// checkPrerequisites reports everything that is missing at once, with the way to
// get it.
func checkPrerequisites(l Layout, o Options) error {
	var problems []error
	space, enough := int64(spaceControlPlane), "500 MB"
	if o.Node {
		space, enough = spaceNode, "3 GB"
		problems = append(problems, checkNode()...)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(l.Dir, &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < space {
		problems = append(problems, fmt.Errorf("%s has %d MB free, and %s are wanted: free some, or pick another --dir", l.Dir, free>>20, enough))
	}
	return errors.Join(problems...)
}

func checkNode() []error {
	var problems []error
	if os.Geteuid() != 0 {
		problems = append(problems, errors.New("a node needs root: run as root, or leave --node out"))
	}
	if err := os.Setenv("PATH", searchPath()); err != nil {
		problems = append(problems, err)
	}
	var missing, packages []string
	for _, n := range needed {
		if _, err := exec.LookPath(n.program); err == nil {
			continue
		}
		missing = append(missing, filepath.Base(n.program))
		if len(packages) == 0 || packages[len(packages)-1] != n.pkg {
			packages = append(packages, n.pkg)
		}
	}
	if len(missing) > 0 {
		problems = append(problems, fmt.Errorf("a node needs %s: apt-get install --no-install-recommends %s",
			strings.Join(missing, ", "), strings.Join(packages, " ")))
	}
	if parents, v2, err := cgroupParents(); err != nil {
		problems = append(problems, err)
	} else if !v2 {
		have := map[string]bool{}
		for _, p := range parents {
			for _, controller := range strings.Split(filepath.Base(p), ",") {
				have[controller] = true
			}
		}
		for _, controller := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids"} {
			if !have[controller] {
				problems = append(problems, fmt.Errorf("a node needs the cgroup controller %s: mount it below /sys/fs/cgroup", controller))
			}
		}
	}
	return problems
}
