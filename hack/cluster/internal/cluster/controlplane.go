package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// ports are where the control plane listens, beside the API.
type ports struct{ api, etcdClient, etcdPeer, kcm, scheduler int }

// pickPorts takes the components' usual ports in a network of the cluster's
// own.  On the host several clusters start at once, and a port found free may be
// taken a moment later: candidates come at random from below the range that the
// kernel hands out by itself, which makes that rare, and the supervisor tries
// again when it happens all the same.
func pickPorts(s *State) (ports, error) {
	if s.Node {
		return ports{api: s.APIPort, etcdClient: 2379, etcdPeer: 2380, kcm: 10257, scheduler: 10259}, nil
	}
	p := ports{api: s.Options.Port}
	if p.api == 0 && s.APIPort != 0 {
		if l, err := listenOnPort(s.APIPort); err == nil { // of an earlier start
			l.Close()
			p.api = s.APIPort
		}
	}
	for _, port := range []*int{&p.api, &p.etcdClient, &p.etcdPeer, &p.kcm, &p.scheduler} {
		if *port != 0 {
			continue
		}
		free, err := freePort()
		if err != nil {
			return p, err
		}
		*port = free
	}
	return p, nil
}

func freePort() (int, error) {
	const first, count, attempts = 20000, 12000, 200
	var err error
	for range attempts {
		port := first + rand.IntN(count)
		var l net.Listener
		if l, err = listenOnPort(port); err == nil {
			l.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found between %d and %d: %w", first, first+count, err)
}

// errPortTaken means that starting again with other ports may help.
var errPortTaken = errors.New("a port was taken by another program")

// portTaken looks for the system's words in the log of a component that ended,
// from an offset on.
func (l Layout) portTaken(component string, from int64) bool {
	b, _ := os.ReadFile(l.log(component))
	return strings.Contains(string(b[min(from, int64(len(b))):]), "address already in use")
}

func (l Layout) logSize(component string) int64 {
	info, err := os.Stat(l.log(component))
	if err != nil {
		return 0
	}
	return info.Size()
}

// bind is the address the API listens on.
func (s *State) bind() string {
	if s.Node {
		return NodeIP
	}
	return "127.0.0.1"
}

func (l Layout) etcdArgs(p ports) []string {
	client := "http://127.0.0.1:" + strconv.Itoa(p.etcdClient)
	peer := "http://127.0.0.1:" + strconv.Itoa(p.etcdPeer)
	return []string{
		"--name=etcd", "--data-dir=" + l.path("etcd"), "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=etcd=" + peer,
		// The data must outlive a killed process, which the page cache sees to,
		// not a power cut; syncing is most of the time a cluster takes to start.
		"--unsafe-no-fsync",
	}
}

func (l Layout) apiServerArgs(s *State, p ports) []string {
	return append([]string{
		"--etcd-servers=http://127.0.0.1:" + strconv.Itoa(p.etcdClient),
		"--bind-address=" + s.bind(), "--secure-port=" + strconv.Itoa(p.api),
		// A loopback address is rejected here.  Without a node no client dials it.
		"--advertise-address=" + NodeIP,
		"--service-cluster-ip-range=" + serviceCIDR,
		"--tls-cert-file=" + l.pki("apiserver.crt"), "--tls-private-key-file=" + l.pki("apiserver.key"),
		"--client-ca-file=" + l.pki("ca.crt"),
		"--kubelet-certificate-authority=" + l.pki("ca.crt"),
		"--kubelet-client-certificate=" + l.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + l.pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc." + dnsDomain,
		"--service-account-key-file=" + l.pki("sa.pub"), "--service-account-signing-key-file=" + l.pki("sa.key"),
		"--requestheader-client-ca-file=" + l.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + l.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + l.pki("front-proxy-client.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
	}, s.APIServerArgs...)
}

func (l Layout) kcmArgs(s *State, p ports) []string {
	args := append(l.sharedArgs("kube-controller-manager", p.kcm),
		"--use-service-account-credentials=true",
		// The default limits make a fresh cluster take seconds longer to settle.
		"--kube-api-qps=300", "--kube-api-burst=600",
		"--service-account-private-key-file="+l.pki("sa.key"), "--root-ca-file="+l.pki("ca.crt"),
		"--cluster-signing-cert-file="+l.pki("ca.crt"), "--cluster-signing-key-file="+l.pki("ca.key"),
		"--client-ca-file="+l.pki("ca.crt"), "--requestheader-client-ca-file="+l.pki("front-proxy-ca.crt"),
		"--allocate-node-cidrs=true", "--cluster-cidr="+podCIDR, "--service-cluster-ip-range="+serviceCIDR,
	)
	if s.Node {
		args = append(args, "--enable-hostpath-provisioner=true")
	}
	return append(args, s.KCMArgs...)
}

func (l Layout) schedulerArgs(s *State, p ports) []string {
	return append(l.sharedArgs("kube-scheduler", p.scheduler), s.SchedulerArgs...)
}

func (l Layout) sharedArgs(component string, port int) []string {
	kubeconfig := l.kubeconfig(component)
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig, "--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port), "--leader-elect=false", "--profiling=false",
	}
}

// startControlPlane returns when the cluster takes pods.
func (r *run) startControlPlane(ctx context.Context, p ports) error {
	const limit = 2 * time.Minute
	_, inside := r.state.endpoints()
	api, err := r.layout.apiClient(inside)
	if err != nil {
		return err
	}
	r.api = api
	apiReady := func(time.Time) error { return api.get("/readyz", nil) }
	// (The API is not ready without its database.)
	if err := r.start(applet("etcd", r.layout.etcdArgs(p), apiReady)); err != nil {
		return err
	}
	if err := r.start(applet("kube-apiserver", r.layout.apiServerArgs(r.state, p), apiReady)); err != nil {
		return err
	}
	if err := eventually(ctx, "kube-apiserver ready", limit, func() error { return apiReady(time.Time{}) }); err != nil {
		return err
	}
	r.progress("kube-apiserver is ready at %s", inside)

	// Only now: started earlier, these two spend seconds in back-off.
	managerReady := func(time.Time) error { return probe(url("127.0.0.1", p.kcm) + "/healthz") }
	if err := r.start(applet("kube-controller-manager", r.layout.kcmArgs(r.state, p), managerReady)); err != nil {
		return err
	}
	schedulerReady := func(time.Time) error {
		base := url("127.0.0.1", p.scheduler)
		err := probe(base + "/readyz")
		if errors.Is(err, errNoSuchPath) { // before 1.31
			err = probe(base + "/healthz")
		}
		return err
	}
	if err := r.start(applet("kube-scheduler", r.layout.schedulerArgs(r.state, p), schedulerReady)); err != nil {
		return err
	}
	for _, check := range []struct {
		what string
		do   func(time.Time) error
	}{
		{"kube-controller-manager healthy", managerReady},
		{"kube-scheduler ready", schedulerReady},
		{"the default service account", func(time.Time) error {
			return api.get("/api/v1/namespaces/default/serviceaccounts/default", nil)
		}},
	} {
		if err := eventually(ctx, check.what, limit, func() error { return check.do(time.Time{}) }); err != nil {
			return err
		}
	}
	r.progress("the control plane takes objects")
	return nil
}
