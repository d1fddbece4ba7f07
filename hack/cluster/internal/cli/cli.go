// Package cli is the command line of the cluster program's own commands.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/cluster"
	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/ociimage"
	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/pki"
)

// A command parses its flags with set and then runs.
type command struct {
	name     string
	synopsis string // after "cluster NAME"
	summary  string
	help     string
	hidden   bool // called by other commands only
	setup    func(*pflag.FlagSet) func(args []string) error
}

// errUsage asks for exit code 2 and a hint at --help.
type errUsage struct{ error }

func usage(format string, args ...any) error { return errUsage{fmt.Errorf(format, args...)} }

// Applets describes the programs that are linked in, for the overview.
type Applets struct {
	Names   []string
	Summary func(string) string
}

// Main runs a command and returns the exit code.
func Main(args []string, applets Applets) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		overview(os.Stdout, applets)
		if len(args) == 0 {
			return 2
		}
		return 0
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.main(args[1:])
		}
	}
	fmt.Fprintf(os.Stderr, "cluster: there is no command %q; `cluster --help` lists them\n", args[0])
	return 2
}

func overview(w io.Writer, applets Applets) {
	fmt.Fprint(w, "cluster runs a real Kubernetes cluster without a container engine around it.\n\nCommands (cluster COMMAND --help tells more):\n")
	for _, c := range commands {
		if !c.hidden {
			fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
		}
	}
	fmt.Fprint(w, "\nThe real programs in this one (cluster PROGRAM ARGS..., or call it by a link of that name):\n")
	for _, n := range applets.Names {
		fmt.Fprintf(w, "  %-24s %s\n", n, applets.Summary(n))
	}
}

func (c command) main(args []string) int {
	flags := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetInterspersed(c.name != "exec" && c.name != "run")
	flags.Usage = func() {
		fmt.Printf("usage: cluster %s %s\n\n%s\n\n%s", c.name, c.synopsis, strings.TrimSpace(c.help), flags.FlagUsages())
	}
	run := c.setup(flags)
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		err = errUsage{err}
	} else {
		err = run(flags.Args())
	}
	var misused errUsage
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNotReady):
		return 1
	case errors.As(err, &misused):
		fmt.Fprintf(os.Stderr, "cluster %s: %v; see `cluster %s --help`\n", c.name, err, c.name)
		return 2
	default:
		fmt.Fprintf(os.Stderr, "cluster %s: %v\n", c.name, err)
		return 1
	}
}

// dirFlag is common to all commands that deal with a cluster.
func dirFlag(f *pflag.FlagSet) func() (cluster.Layout, error) {
	dir := f.String("dir", "", "the `folder` that holds the cluster's state")
	return func() (cluster.Layout, error) {
		l, err := cluster.NewLayout(*dir)
		if err != nil {
			return l, errUsage{err}
		}
		return l, nil
	}
}

func noArgs(args []string) error {
	if len(args) > 0 {
		return usage("what is %q for? No arguments are expected", args[0])
	}
	return nil
}

func setupUp(f *pflag.FlagSet) func([]string) error {
	layout := dirFlag(f)
	var o cluster.Options
	f.BoolVar(&o.Node, "node", false, "with a node that runs real pods (as root)")
	f.IntVar(&o.Port, "port", 0, "the API's `port` on 127.0.0.1 (0: a free one)")
	f.StringArrayVar(&o.APIServerArgs, "apiserver-arg", nil, "one more `flag` for kube-apiserver; may be repeated")
	f.StringArrayVar(&o.KCMArgs, "kcm-arg", nil, "one more `flag` for kube-controller-manager; may be repeated")
	f.StringArrayVar(&o.SchedulerArgs, "scheduler-arg", nil, "one more `flag` for kube-scheduler; may be repeated")
	return func(args []string) error {
		l, err := layout()
		if err == nil {
			err = noArgs(args)
		}
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if err := cluster.Up(ctx, l, o, os.Stderr); err != nil {
			return err
		}
		fmt.Println(l.AdminKubeconfig())
		return nil
	}
}

func setupDown(f *pflag.FlagSet) func([]string) error {
	layout := dirFlag(f)
	keep := f.Bool("keep-data", false, "keep the folder, for a later `cluster up`")
	return func(args []string) error {
		l, err := layout()
		if err == nil {
			err = noArgs(args)
		}
		if err != nil {
			return err
		}
		return cluster.Down(l, *keep)
	}
}

// errNotReady makes the exit code 1; the status itself was printed.
var errNotReady = errors.New("not ready")

func setupStatus(f *pflag.FlagSet) func([]string) error {
	layout := dirFlag(f)
	output := f.StringP("output", "o", "text", "`format`: text or json")
	return func(args []string) error {
		l, err := layout()
		if err == nil {
			err = noArgs(args)
		}
		if err != nil {
			return err
		}
		s, err := cluster.Inspect(l)
		if err != nil {
			return err
		}
		switch *output {
		case "json":
			encoder := json.NewEncoder(os.Stdout)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(s); err != nil {
				return err
			}
		case "text":
			printStatus(s)
		default:
			return usage("-o %q: use text or json", *output)
		}
		if !s.Ready {
			return errNotReady
		}
		return nil
	}
}

func printStatus(s cluster.Status) {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.Reason
	}
	fmt.Printf("%s: %s\n", s.Dir, state)
	for _, line := range []struct{ label, value string }{
		{"server", s.Server}, {"kubeconfig", s.Kubeconfig}, {"inside kubeconfig", s.InsideKubeconfig},
		{"node", s.Node}, {"network namespace", s.NetNS},
	} {
		if line.value != "" {
			fmt.Printf("  %-18s %s\n", line.label, line.value)
		}
	}
	if s.Supervisor != 0 {
		fmt.Printf("  %-24s pid %d\n", "supervisor", s.Supervisor)
	}
	for _, c := range s.Components {
		note := ""
		if !c.Running {
			note = " (ended)"
		}
		fmt.Printf("  %-24s pid %d%s\n", c.Name, c.PID, note)
	}
}

func setupRestart(f *pflag.FlagSet) func([]string) error {
	layout := dirFlag(f)
	pause := f.Float64("pause", 0, "stay away for so many `seconds` before the start")
	sig := f.String("signal", "KILL", "`KILL` or TERM, which asks for an orderly end")
	return func(args []string) error {
		l, err := layout()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return usage("no component given; `cluster status` lists them")
		}
		o := cluster.RestartOptions{Pause: time.Duration(*pause * float64(time.Second))}
		switch {
		case o.Pause < 0:
			return usage("--pause %v: give a number of seconds", *pause)
		case *sig == "KILL":
			o.Signal = syscall.SIGKILL
		case *sig == "TERM":
			o.Signal = syscall.SIGTERM
		default:
			return usage("--signal %q: use KILL or TERM", *sig)
		}
		return cluster.Restart(l, args, o)
	}
}

func setupCerts(f *pflag.FlagSet) func([]string) error {
	layout := dirFlag(f)
	var r pki.Request
	f.StringVar(&r.CommonName, "cn", "", "common `name`: the user's name")
	f.StringArrayVar(&r.Organizations, "org", nil, "`organization`: a group of the user; may be repeated")
	f.StringArrayVar(&r.SANs, "san", nil, "a server's `name` or address; may be repeated")
	stem := f.String("out", "", "write STEM.crt, STEM.key and STEM.kubeconfig; the `stem` is a path")
	return func(args []string) error {
		l, err := layout()
		if err == nil {
			err = noArgs(args)
		}
		if err != nil {
			return err
		}
		if r.CommonName == "" || *stem == "" {
			return usage("--cn and --out are needed")
		}
		files, err := cluster.Certs(l, *stem, r)
		for _, file := range files {
			fmt.Println(file)
		}
		return err
	}
}

func setupImage(f *pflag.FlagSet) func([]string) error {
	var img ociimage.Image
	out := f.String("out", "", "the archive to write: a `file`")
	f.StringVar(&img.Ref, "ref", "", "the image's full `name`, such as localhost/runner:1")
	f.StringVar(&img.RootFS, "rootfs", "", "a `folder` taken as the root file system")
	files := f.StringArray("file", nil, "`PATH=SOURCE`: one more file, PATH in the image; may be repeated")
	entrypoint := f.String("entrypoint", "", "the entry point, a JSON `array` of strings")
	cmd := f.String("cmd", "", "the default arguments, a JSON `array` of strings")
	f.StringArrayVar(&img.Env, "env", nil, "`NAME=VALUE`; may be repeated")
	f.StringVar(&img.User, "user", "", "`user` the image runs as: UID or UID:GID")
	f.StringVar(&img.WorkDir, "workdir", "", "the working `folder`")
	return func(args []string) error {
		if err := noArgs(args); err != nil {
			return err
		}
		if *out == "" || img.Ref == "" {
			return usage("--out and --ref are needed")
		}
		if img.RootFS == "" && len(*files) == 0 {
			return usage("an image needs --rootfs or --file")
		}
		img.Files = map[string]string{}
		for _, file := range *files {
			path, source, ok := strings.Cut(file, "=")
			if !ok {
				return usage("--file %q: give PATH=SOURCE", file)
			}
			img.Files[path] = source
		}
		for _, list := range []struct {
			flag, value string
			into        *[]string
		}{{"entrypoint", *entrypoint, &img.Entrypoint}, {"cmd", *cmd, &img.Cmd}} {
			if list.value == "" {
				continue
			}
			if err := json.Unmarshal([]byte(list.value), list.into); err != nil {
				return usage(`--%s %q: give a JSON array such as ["/app","--verbose"]`, list.flag, list.value)
			}
		}
		digest, err := ociimage.Write(*out, img)
		if err != nil {
			return err
		}
		fmt.Println(digest)
		return nil
	}
}
