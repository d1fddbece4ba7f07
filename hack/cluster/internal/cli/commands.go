package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/cluster"
)

// commands in the order they are learned.
var commands = []command{
	{
		name: "up", synopsis: "--dir DIR [--node] [--port N] [--apiserver-arg FLAG]...",
		summary: "start a cluster and wait until it is ready",
		help: `Starts a cluster in the background and prints the path of its kubeconfig; what it
is doing goes to standard error. Everything about it is kept in DIR.

Without --node there is a control plane alone: real API, controllers and
scheduler, but nothing runs pods. It needs no root, and any number may run at
once, each with a DIR of its own.

With --node there also is a real node (containerd, kubelet, kube-proxy, CoreDNS)
in namespaces of its own. In its network, everything that runs beside the pods
has the address ` + cluster.NodeIP + `; see "cluster exec" and "cluster forward". The
default StorageClass makes volumes on the node's disk.

On a running cluster nothing happens. A cluster that was killed is cleaned up and
started again with its data.

Its components do not see the environment, except GOGC and GOMEMLIMIT: GOGC=400 takes
a tenth less processor time and more memory.

  export KUBECONFIG=$(cluster up --dir /tmp/c1 --node)
  cluster kubectl get nodes`,
		setup: setupUp,
	},
	{
		name: "down", synopsis: "--dir DIR [--keep-data]",
		summary: "stop a cluster and remove all it made",
		help: `Stops the cluster and removes what it made: processes, containers, mounts,
network, cgroups, volumes, and DIR itself. Works for one that crashed, too, and
does nothing if there is none. Only processes that the cluster started are ended.`,
		setup: setupDown,
	},
	{
		name: "status", synopsis: "--dir DIR [-o json]",
		summary: "tell what runs and whether it is ready",
		help: `Tells what runs, with process ids, and whether the cluster is ready. The exit
code is 0 only if it is.`,
		setup: setupStatus,
	},
	{
		name: "exec", synopsis: "--dir DIR -- COMMAND [ARG]...",
		summary: "run a command in the cluster's network",
		help: `Runs a command on the host, but in the cluster's network: it reaches pods and
Services, looks names up as a pod does, and what it listens to at
` + cluster.NodeIP + ` can be reached by pods. KUBECONFIG is set. The exit code is the
command's. Without a node, the command is just run.

  cluster exec --dir /tmp/c1 -- curl http://web.default.svc.cluster.local`,
		setup: func(f *pflag.FlagSet) func([]string) error {
			layout := dirFlag(f)
			return func(args []string) error {
				l, err := layout()
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return usage("no command given; put it after --")
				}
				return cluster.Exec(l, args)
			}
		},
	},
	{
		name: "run", synopsis: "--dir DIR --name NAME -- COMMAND [ARG]...",
		summary: "start a command in the cluster's network that stays until `down`",
		help: `Starts a command like "cluster exec", but in the background. It is ended by
"cluster down". Prints the file its output goes to.

  cluster run --dir /tmp/c1 --name metrics -- cluster metrics-server --kubeconfig ...`,
		setup: func(f *pflag.FlagSet) func([]string) error {
			layout := dirFlag(f)
			name := f.String("name", "", "a `name` for it, for the log and status")
			return func(args []string) error {
				l, err := layout()
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return usage("no command given; put it after --")
				}
				log, err := cluster.Run(l, *name, args)
				if err == nil {
					fmt.Println(log)
				}
				return err
			}
		},
	},
	{
		name: "forward", synopsis: "--dir DIR --listen 127.0.0.1:PORT --to " + cluster.NodeIP + ":PORT",
		summary: "make an address in the cluster's network reachable from the host",
		help: `Passes connections to an address of the host on to one in the cluster's network,
in the background until "cluster down". Prints the address listened to; port 0
takes a free one.`,
		setup: func(f *pflag.FlagSet) func([]string) error {
			layout := dirFlag(f)
			listen := f.String("listen", "127.0.0.1:0", "`address` on the host")
			to := f.String("to", "", "`address` in the cluster's network")
			return func(args []string) error {
				l, err := layout()
				if err == nil {
					err = noArgs(args)
				}
				if err != nil {
					return err
				}
				if *to == "" {
					return usage("--to is needed")
				}
				address, err := cluster.Forward(l, *listen, *to)
				if err == nil {
					fmt.Println(address)
				}
				return err
			}
		},
	},
	{
		name: "restart", synopsis: "--dir DIR [--pause SECONDS] [--signal TERM] COMPONENT...",
		summary: "end components of a running cluster and start them again",
		help: `Ends the named components hard and at once, as a crash does, starts them again
after the pause, and returns when they are ready. Pods go on meanwhile. Components
are etcd, kube-apiserver, kube-controller-manager and kube-scheduler, and with a
node also containerd, coredns, kube-proxy, kubelet and relay, which leads from the
host to the API.

A component that does not come back ends the cluster, as one does that ends
without being asked to.

  cluster restart --dir /tmp/c1 --pause 10 kube-apiserver`,
		setup: setupRestart,
	},
	{
		name: "image", synopsis: "--out FILE.tar --ref NAME [--rootfs DIR] [--file PATH=SOURCE]...",
		summary: "write an image archive",
		help: `Writes an OCI image archive with one layer and prints its digest. The same
content always gives the same archive. Owners and modes of a root file system are
kept, times are not; devices, pipes and sockets are left out. Files are laid over
the root file system and belong to root.

  cluster image --out tool.tar --ref localhost/tool:1 --file /tool=./tool \
      --entrypoint '["/tool"]' --user 1000`,
		setup: setupImage,
	},
	{
		name: "load", synopsis: "--dir DIR FILE.tar...",
		summary: "give image archives to the node",
		help: `Imports OCI archives into the node. Images that are there with the same digest
are skipped. Pods need imagePullPolicy IfNotPresent or Never, since nothing can
be pulled.`,
		setup: func(f *pflag.FlagSet) func([]string) error {
			layout := dirFlag(f)
			return func(args []string) error {
				l, err := layout()
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return usage("no archive given; `cluster image` writes one")
				}
				return cluster.Load(l, args, func(line string) { fmt.Println(line) })
			}
		},
	},
	{
		name: "certs", synopsis: "--dir DIR --cn NAME [--org GROUP]... [--san NAME]... --out STEM",
		summary: "issue a certificate from the cluster's authority",
		help: `Issues a client certificate (with --san, for a server as well) from the cluster's
authority, writes it with its key and a kubeconfig, and prints the paths; the last
one is the authority's certificate.

  cluster certs --dir /tmp/c1 --cn alice --org developers --out /tmp/alice`,
		setup: setupCerts,
	},
	{name: "supervise", hidden: true, synopsis: "--dir DIR", help: "Started by `cluster up`.",
		setup: onLayout(cluster.Supervise)},
	{name: "init", hidden: true, synopsis: "--dir DIR", help: "Started by `cluster up --node`.",
		setup: onLayout(cluster.Init)},
	{name: "relay", hidden: true, synopsis: "--fd N --to ADDRESS", help: "Started by `cluster up` and `cluster forward`.",
		setup: func(f *pflag.FlagSet) func([]string) error {
			fd := f.Int("fd", 3, "")
			to := f.String("to", "", "")
			return func([]string) error { return cluster.Relay(uintptr(*fd), *to) }
		}},
}

func onLayout(do func(cluster.Layout) error) func(*pflag.FlagSet) func([]string) error {
	return func(f *pflag.FlagSet) func([]string) error {
		layout := dirFlag(f)
		return func([]string) error {
			l, err := layout()
			if err != nil {
				return err
			}
			return do(l)
		}
	}
}
