package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	if err := r.start(component{
		name: "containerd", path: containerd, args: []string{containerd, "--config", r.layout.node("containerd.toml")},
		ready: func(time.Time) error { return exec.Command("ctr", "--namespace", "k8s.io", "containers", "list").Run() },
	}); err != nil {
		return err
	}
	// The API's listener was opened on the host and this process is not there:
	// what it accepts are connections from the host.
	return r.start(component{
		name: "relay", path: "/proc/self/exe",
		args:  []string{"cluster", "relay", "--fd", "3", "--to", NodeIP + ":" + strconv.Itoa(r.state.APIPort)},
		files: []*os.File{os.NewFile(listenerFD, "listener")},
	})
}

// startNode makes the control plane's cluster one that runs pods.
func (r *run) startNode(ctx context.Context) error {
	const limit = 2 * time.Minute
	l := r.layout
	if err := r.importPause(ctx); err != nil {
		return err
	}
	r.progress("containerd is ready")
	nodeReady := func(since time.Time) error {
		if err := probe(fmt.Sprintf("http://%s:%d/healthz", NodeIP, kubeletHealth)); err != nil {
			return err
		}
		n, err := r.api.node()
		if err != nil {
			return err
		}
		return n.readyError(since)
	}
	proxyReady := func(time.Time) error { return probe(fmt.Sprintf("http://%s:%d/healthz", NodeIP, proxyHealth)) }
	namesReady := func(time.Time) error { return probe(fmt.Sprintf("http://%s:%d/ready", NodeIP, dnsReady)) }
	for _, c := range []component{
		applet("kubelet", []string{
			"--config=" + l.node("kubelet.yaml"), "--kubeconfig=" + l.kubeconfig(nodeName),
			"--hostname-override=" + nodeName, "--node-ip=" + NodeIP, "--v=2",
		}, nodeReady),
		applet("kube-proxy", []string{"--config=" + l.node("kube-proxy.yaml"), "--v=2"}, proxyReady),
		applet("coredns", []string{"-conf", l.node("Corefile")}, namesReady),
	} {
		if err := r.start(c); err != nil {
			return err
		}
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
		do   func(time.Time) error
	}{
		{"CoreDNS ready", namesReady},
		{"kube-proxy healthy", proxyReady},
		{"the node ready", nodeReady},
	} {
		if err := eventually(ctx, check.what, limit, func() error { return check.do(time.Time{}) }); err != nil {
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
