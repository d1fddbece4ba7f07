// Package cluster starts, watches and removes a Kubernetes cluster whose whole
// state lies in one folder.
//
// A cluster has a supervisor, the parent of everything that runs.  A cluster
// with a node gets separate namespaces for process ids, mounts and the
// network, so that the end of its first process is the end of everything in it:
// the kernel itself kills the pods and drops the mounts.
package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Addresses, the same in every cluster: each with a node has a network
// separate namespace, and the others only name them.
const (
	NodeIP      = "10.254.0.1"
	serviceCIDR = "10.96.0.0/16"
	serviceIP   = "10.96.0.1" // the first of serviceCIDR is the API's
	podCIDR     = "10.244.0.0/16"
	dnsDomain   = "cluster.local"
	nodeName    = "node-0"
)

// Options are what `up` was asked for.
type Options struct {
	Node          bool     `json:"node"`
	Port          int      `json:"port"` // 0: any free one
	APIServerArgs []string `json:"apiserverArgs,omitempty"`
	KCMArgs       []string `json:"kcmArgs,omitempty"`
	SchedulerArgs []string `json:"schedulerArgs,omitempty"`
}

// State is kept in the cluster's folder, and marks it as one.
type State struct {
	Options
	// APIPort is the port of the API, on the host and inside.
	APIPort int `json:"apiPort"`
	// Ready is set once, when everything has started.
	Ready bool `json:"ready"`
}

// Layout knows where things lie in a cluster's folder.
type Layout struct{ Dir string }

// NewLayout makes the folder's path absolute; names of machine-wide things
// derive from it.
func NewLayout(dir string) (Layout, error) {
	if dir == "" {
		return Layout{}, errors.New("no folder given: pass --dir DIR, the folder that holds the cluster's state")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, err
	}
	return Layout{Dir: resolve(abs)}, nil
}

// resolve follows symbolic links as far as the path exists, so that a folder has
// the same name before it is made, while it is there and after it is removed.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolve(parent), filepath.Base(path))
}

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

// ID distinguishes this cluster from the others on the machine.
func (l Layout) ID() string {
	sum := sha256.Sum256([]byte(l.Dir))
	return hex.EncodeToString(sum[:4])
}

// NetNS is the name of the network namespace, as `ip netns` shows it.
func (l Layout) NetNS() string { return "fm-" + l.ID() }

// Cgroup is the name of the node's own top-level cgroup.
func (l Layout) Cgroup() string { return "function-mesh-" + l.ID() }

// AdminKubeconfig works on the host, InsideKubeconfig in the cluster's network.
func (l Layout) AdminKubeconfig() string  { return l.path("admin.kubeconfig") }
func (l Layout) InsideKubeconfig() string { return l.path("inside.kubeconfig") }

func (l Layout) pki(name string) string        { return l.path("pki", name) }
func (l Layout) kubeconfig(name string) string { return l.path("kubeconfig", name+".kubeconfig") }
func (l Layout) log(name string) string        { return l.path("log", name+".log") }
func (l Layout) node(parts ...string) string   { return l.path(append([]string{"node"}, parts...)...) }

// record is the file with the identity of a process seen from the host.
func (l Layout) record(name string) string { return l.path("run", name+".pid") }

// childRecord is the file with the identity of a component as its supervisor sees
// it. With a node, that is a number in the node's namespace and not the host's.
func (l Layout) childRecord(name string) string { return l.path("run", name+".child") }

// rootRecord names the process whose end is the end of the cluster.
const rootRecord = "supervisor"

func (l Layout) stateFile() string { return l.path("cluster.json") }

// failureFile says why the supervisor gave up.
func (l Layout) failureFile() string { return l.path("run", "failure") }

// loadState returns nil without an error when the folder is missing or empty,
// and an error when it holds something else: it is going to be removed one day.
func (l Layout) loadState() (*State, error) {
	b, err := os.ReadFile(l.stateFile())
	if err == nil {
		var s State
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", l.stateFile(), err)
		}
		return &s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty and no cluster's folder (no cluster.json): choose another --dir", l.Dir)
	}
	return nil, nil
}

func (l Layout) saveState(s *State) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := l.stateFile() + ".tmp"
	if err := os.WriteFile(temporary, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, l.stateFile())
}

// lock makes this process the only one that starts or stops the cluster.  The
// folder itself is locked, and looked up again afterwards: the holder of the lock
// may have removed it.
func (l Layout) lock(create bool) (release func(), err error) {
	for {
		if create {
			if err := os.MkdirAll(l.Dir, 0o755); err != nil {
				return nil, err
			}
		}
		f, err := os.Open(l.Dir)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", l.Dir, err)
		}
		locked, err1 := f.Stat()
		current, err2 := os.Stat(l.Dir)
		if err1 == nil && err2 == nil && os.SameFile(locked, current) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if !create && errors.Is(err2, fs.ErrNotExist) {
			return nil, err2
		}
	}
}

func url(host string, port int) string { return "https://" + host + ":" + strconv.Itoa(port) }
