package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	cniPlugins  = "/usr/lib/cni"
	pauseImage  = "localhost/pause:1"
	dnsPort     = 53
	dnsReady    = 8181
	proxyHealth = 10256

	kubeletHealth = 10248
)

// fill puts values for {NAME}s into a template.
func fill(template string, values map[string]string) string {
	pairs := make([]string, 0, 2*len(values))
	for name, value := range values {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(template)
}

// nodeFiles are the configuration of the node's programs.  Those hidden folders
// hold what has no path here: /var/lib/containerd, /var/lib/kubelet,
// /run/containerd/containerd.sock, /var/log/pods.
func (l Layout) nodeFiles() map[string]string {
	hostname, _ := os.Hostname()
	values := map[string]string{
		"CA": l.pki("ca.crt"), "CERT": l.pki(nodeName + ".crt"), "KEY": l.pki(nodeName + ".key"),
		"CGROUP": "/" + l.Cgroup(), "CNI": l.node("cni"), "CNI_PLUGINS": cniPlugins, "PAUSE": pauseImage,
		"DNS_DOMAIN": dnsDomain, "HOSTNAME": hostname, "IP": NodeIP, "NODE": nodeName, "POD_CIDR": podCIDR,
		"DNS_PORT": fmt.Sprint(dnsPort), "DNS_READY": fmt.Sprint(dnsReady), "PROXY_HEALTH": fmt.Sprint(proxyHealth),
		"KUBELET_HEALTH":   fmt.Sprint(kubeletHealth),
		"PROXY_KUBECONFIG": l.kubeconfig("kube-proxy"), "DNS_KUBECONFIG": l.kubeconfig("coredns"),
		"RESOLV": l.node("resolv.conf"), "HOSTS": l.node("hosts"), "PLUGINS": l.node("kubelet-plugins"),
	}
	files := map[string]string{}
	for name, template := range map[string]string{
		"containerd.toml": containerdConfig,
		"kubelet.yaml":    kubeletConfig,
		"kube-proxy.yaml": proxyConfig,
		"Corefile":        corefile,
		"hosts":           hostsFile,
		"resolv.conf":     resolvConf,
	} {
		files[l.node(name)] = fill(template, values)
	}
	return files
}

// cniFile and cniConfig appear last: the runtime reports the node's network as
// ready as soon as the file is there, and the range of pod addresses is assigned
// to the node by the controller manager.
func (l Layout) cniFile() string { return l.node("cni", "10-pods.conflist") }

func (l Layout) cniConfig(podCIDR string) string {
	return fill(cniTemplate, map[string]string{"SUBNET": podCIDR})
}

func writeFiles(files map[string]string) error {
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		// By renaming: some readers watch for the file and read it at once.
		if err := os.WriteFile(name+".new", []byte(content), 0o644); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
	}
	return nil
}

// Adjusting OOM scores downwards and AppArmor need permissions that a machine inside
// a container often lacks, and neither matters for tests.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{CNI}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

// The cgroup root is the node's own: a kubelet removes pods it does not know, and
// two sharing a root would remove each other's.  Evictions for lack of disk are
// off, since they would be judged by the whole machine's disk.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {IP}
healthzBindAddress: {IP}
healthzPort: {KUBELET_HEALTH}
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "{CA}"}
authorization: {mode: Webhook}
tlsCertFile: "{CERT}"
tlsPrivateKeyFile: "{KEY}"
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: "{CGROUP}"
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: ["{IP}"]
clusterDomain: {DNS_DOMAIN}
resolvConf: "{RESOLV}"
volumePluginDir: "{PLUGINS}"
evictionHard: {memory.available: 50Mi, nodefs.available: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
syncFrequency: 10s
fileCheckFrequency: 10s
nodeStatusUpdateFrequency: 5s
registryPullQPS: 0
eventRecordQPS: 0
maxPods: 200
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: {IP}
healthzBindAddress: {IP}:{PROXY_HEALTH}
metricsBindAddress: {IP}:10249
clientConnection: {kubeconfig: "{PROXY_KUBECONFIG}"}
hostnameOverride: {NODE}
mode: nftables
clusterCIDR: {POD_CIDR}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {minSyncPeriod: 100ms}
oomScoreAdj: 0
`

// Names that are not the cluster's do not exist: there is no server to ask in the
// cluster's network, and any other answer makes clients try again for seconds.
// The machine's own name is known, since Java programs look theirs up at start.
const corefile = `.:{DNS_PORT} {
  bind {IP}
  errors
  ready {IP}:{DNS_READY}
  hosts "{HOSTS}" {
    fallthrough
  }
  kubernetes {DNS_DOMAIN} in-addr.arpa {
    kubeconfig "{DNS_KUBECONFIG}"
    pods insecure
    fallthrough in-addr.arpa
  }
  template ANY ANY {
    rcode NXDOMAIN
  }
  cache 5
}
`

// A file, since CoreDNS reads the machine's /etc/hosts if it is given none.
const hostsFile = `{IP} {HOSTNAME}
`

const resolvConf = `nameserver {IP}
`

const cniTemplate = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "{SUBNET}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

const storageClass = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/host-path
reclaimPolicy: Delete
volumeBindingMode: Immediate
`
