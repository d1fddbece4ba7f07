// Package applets holds the real programs of a Kubernetes cluster as functions
// of one executable, chosen by name.
//
// One link instead of a dozen saves gigabytes of build cache and most of the
// build time, because the programs share nearly all of their packages.  Each
// applet is meant to be the only one in its process: several of them claim
// process-wide things (signal handlers, flags, metric registries).
package applets

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"syscall"
)

// An Applet runs with os.Args already set to its name and arguments, and ends
// the process itself when it needs a special exit code.
type Applet struct {
	Summary string
	run     func()
}

var all = map[string]Applet{
	"etcd":                    {"the cluster's database", runEtcd},
	"kube-apiserver":          {"the Kubernetes API", runAPIServer},
	"kube-controller-manager": {"the built-in controllers", runControllerManager},
	"kube-scheduler":          {"assigns pods to nodes", runScheduler},
	"kubelet":                 {"runs a node's pods", runKubelet},
	"kube-proxy":              {"makes Services reachable on a node", runProxy},
	"kubectl":                 {"the Kubernetes command line", runKubectl},
	"coredns":                 {"the cluster's name server", runCoreDNS},
	"metrics-server":          {"resource metrics for kubectl top and autoscalers", runMetricsServer},
	"kwok":                    {"simulated nodes and pods", runKwok},
	"kwok-config":             {"prints the stages to pass to kwok --config", printKwokConfig},
	"cert-manager-controller": {"issues certificates", runCertManagerController},
	"cert-manager-webhook":    {"validates cert-manager's resources", runCertManagerWebhook},
	"cert-manager-cainjector": {"puts CA bundles into webhooks and CRDs", runCertManagerCAInjector},
	"helm":                    {"the Helm command line (a program of its own, beside this one)", runHelm},
}

// Has reports whether there is an applet of that name.
func Has(name string) bool { _, ok := all[name]; return ok }

// Names lists the applets in alphabetical order.
func Names() []string {
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Summary is one line about the named applet.
func Summary(name string) string { return all[name].Summary }

// Run becomes the applet named by args[0].
func Run(args []string) {
	os.Args = args
	if args[0] != "coredns" {
		dropGlobalFlags("conf", "plugins", "version", "pidfile", "quiet", "log-format", "dns.port", "p")
	}
	all[args[0]].run()
}

// dropGlobalFlags takes flags out of the process-wide set.  CoreDNS registers
// its flags there when the package is merely linked, and Kubernetes' commands
// adopt the whole set, where the shorthand p, for one, collides with theirs.
func dropGlobalFlags(names ...string) {
	drop := map[string]bool{}
	for _, n := range names {
		drop[n] = true
	}
	kept := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flag.CommandLine.VisitAll(func(f *flag.Flag) {
		if !drop[f.Name] {
			kept.Var(f.Value, f.Name, f.Usage)
		}
	})
	flag.CommandLine = kept
}

// runHelm replaces this process: Helm v3 keeps its commands in package main, so
// that they cannot be linked in here and are built as a sibling program.
func runHelm() {
	self, err := os.Executable()
	check(err)
	helm := filepath.Join(filepath.Dir(self), "helm")
	if _, err := os.Stat(helm); err != nil {
		check(fmt.Errorf("%w: helm is built beside this program; run hack/cluster/build", err))
	}
	check(syscall.Exec(helm, os.Args, os.Environ()))
}

// check ends the process on an error, in the form shared by all applets.
func check(err error) {
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(1)
}
