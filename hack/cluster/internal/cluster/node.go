package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// prepareNode starts what does not need the API, to be ready when that is.
func (r *run) prepareNode() error {
	if err := makeCgroup(r.layout.Cgroup()); err != nil {
		return err
	}
	if err := writeFiles(r.layout.nodeFiles()); err != nil {
		return err
	}
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return err
	}
	if err := r.startCommand("containerd", exec.Command(containerd, "--config", r.layout.node("containerd.toml"))); err != nil {
		return err
	}
	// The API's listener was opened on the host and this process is not there:
	// what it accepts are connections from the host.
	relay := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{"cluster", "relay", "--to", NodeIP + ":" + strconv.Itoa(r.state.APIPort)},
		ExtraFiles: []*os.File{os.NewFile(listenerFD, "listener")},
	}
	return r.startCommand("relay", relay)
}

// startNode makes the control plane's cluster one that runs pods.
func (r *run) startNode(ctx context.Context) error {
	const limit = 2 * time.Minute
	l := r.layout
	if err := r.importPause(ctx); err != nil {
		return err
	}
	r.progress("containerd is ready")
	if err := r.start("kubelet", []string{
		"--config=" + l.node("kubelet.yaml"), "--kubeconfig=" + l.kubeconfig(nodeName),
		"--hostname-override=" + nodeName, "--node-ip=" + NodeIP, "--v=2",
	}); err != nil {
		return err
	}
	if err := r.start("kube-proxy", []string{"--config=" + l.node("kube-proxy.yaml"), "--v=2"}); err != nil {
		return err
	}
	if err := r.start("coredns", []string{"-conf", l.node("Corefile")}); err != nil {
		return err
	}
	if err := r.api.apply("/apis/storage.k8s.io/v1/storageclasses/standard", storageClass); err != nil {
		return fmt.Errorf("storage class: %w", err)
	}
	err := eventually(ctx, "a range of pod addresses for the node", limit, func() error {
		n, err := r.api.node()
		if err != nil {
			return err
		}
		if n.Spec.PodCIDR == "" {
			return errors.New("none is assigned yet")
		}
		return writeFiles(map[string]string{l.cniFile(): l.cniConfig(n.Spec.PodCIDR)})
	})
	if err != nil {
		return err
	}
	for _, check := range []struct {
		what string
		do   func() error
	}{
		{"CoreDNS ready", func() error { return probe(fmt.Sprintf("http://%s:%d/ready", NodeIP, dnsReady)) }},
		{"kube-proxy healthy", func() error { return probe(fmt.Sprintf("http://%s:%d/healthz", NodeIP, proxyHealth)) }},
		{"the node ready", func() error {
			n, err := r.api.node()
			if err != nil {
				return err
			}
			return n.readyError()
		}},
	} {
		if err := eventually(ctx, check.what, limit, check.do); err != nil {
			return err
		}
		r.progress("%s", check.what)
	}
	return nil
}

// importPause waits for containerd and gives it the image of pod sandboxes, which
// `up` has left as an archive.
func (r *run) importPause(ctx context.Context) error {
	var output []byte
	err := eventually(ctx, "containerd ready", time.Minute, func() error {
		var err error
		output, err = exec.CommandContext(ctx, "ctr", "--namespace", "k8s.io", "images", "import", r.layout.pauseArchive()).CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

func (l Layout) pauseArchive() string { return l.node("pause.tar") }

// cgroupParents lists where the node's cgroup is made: below every controller of
// cgroups v1, or below the only root of v2.
func cgroupParents() (parents []string, v2 bool, err error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, true, nil
	}
	found, err := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	if err != nil {
		return nil, false, err
	}
	seen := map[string]bool{}
	for _, f := range found {
		dir := filepath.Dir(f)
		real, err := filepath.EvalSymlinks(dir)
		// Names such as cpu,cpuacct often are links to one folder; "unified" is
		// the v2 tree beside v1, which nothing here uses.
		if err == nil && !seen[real] && filepath.Base(real) != "unified" {
			seen[real] = true
			parents = append(parents, real)
		}
	}
	if len(parents) == 0 {
		return nil, false, fmt.Errorf("no cgroups below %s: a node needs them mounted", root)
	}
	return parents, false, nil
}

func makeCgroup(name string) error {
	parents, v2, err := cgroupParents()
	if err != nil {
		return err
	}
	for _, parent := range parents {
		if v2 {
			for _, controller := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} {
				// What is missing is reported by the kubelet, in better words.
				_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
			}
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			return fmt.Errorf("cgroup of the node: %w", err)
		}
		// A cpuset of v1 is born empty, and then no process can join it.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			inherited, err := os.ReadFile(filepath.Join(parent, f))
			if v2 || err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, f), inherited, 0o644); err != nil {
				return fmt.Errorf("cgroup of the node: %w", err)
			}
		}
	}
	return nil
}

// removeCgroup removes the tree made by makeCgroup.  The kernel refuses as long
// as an ended process is still being taken down, so this tries for a while.
func removeCgroup(name string, limit time.Duration) error {
	parents, _, err := cgroupParents()
	if err != nil {
		return nil // without cgroups there is none of ours
	}
	end := time.Now().Add(limit)
	for _, parent := range parents {
		for {
			err := removeEmptyTree(filepath.Join(parent, name))
			if err == nil {
				break
			}
			if time.Now().After(end) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// removeEmptyTree removes folders from the leaves up; in a cgroup the files go
// with their folder.
func removeEmptyTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeEmptyTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
