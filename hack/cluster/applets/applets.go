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
)

// An Applet runs with os.Args already set to its name and arguments, and ends
// the process itself when it needs a special exit code.
type Applet struct {
	Summary string
	run     func()
}

var all = map[string]Applet{}

func add(name, summary string, run func()) { all[name] = Applet{summary, run} }

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

// check ends the process on an error, in the form shared by all applets.
func check(err error) {
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(1)
}
