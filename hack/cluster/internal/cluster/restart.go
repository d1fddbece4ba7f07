package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// A restart is asked for by a file: the supervisor starts a component again only
// if the very process that ended is named there. It removes the file when the
// component is ready again.
type restart struct {
	Process process.Identity `json:"process"` // as the supervisor sees it
	Pause   time.Duration    `json:"pause"`
}

func (l Layout) restartRequest(component string) string {
	return l.path("run", component+".restart")
}

func (l Layout) askRestart(component string, r restart) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temporary := l.restartRequest(component) + ".tmp"
	if err := os.WriteFile(temporary, b, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, l.restartRequest(component))
}

// restartAsked reports whether the end of this process was asked for.
func (l Layout) restartAsked(component string, ended process.Identity) (r restart, asked bool) {
	b, err := os.ReadFile(l.restartRequest(component))
	if err != nil || json.Unmarshal(b, &r) != nil {
		return r, false
	}
	return r, r.Process == ended && ended != process.Identity{}
}

// restartDone takes the request back, unless another one has taken its place.
func (l Layout) restartDone(component string, r restart) error {
	if _, asked := l.restartAsked(component, r.Process); !asked {
		return nil
	}
	if err := os.Remove(l.restartRequest(component)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RestartOptions say how components are ended.
type RestartOptions struct {
	Signal syscall.Signal
	Pause  time.Duration // how long they stay away
}

// Restart ends components of a running cluster, all at once, and returns when
// all are ready again.
func Restart(l Layout, names []string, o RestartOptions) error {
	state, root, err := l.running()
	if err != nil {
		return err
	}
	var found []child
	for _, name := range names {
		c, err := l.child(name, root, state.Node)
		if err != nil {
			return err
		}
		if !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	for _, c := range found {
		if err := l.askRestart(c.name, restart{Process: c.inside, Pause: o.Pause}); err != nil {
			return err
		}
		if err := c.host.Signal(o.Signal); err != nil {
			_ = os.Remove(l.restartRequest(c.name))
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	end := time.Now().Add(o.Pause + restartLimit)
	for _, c := range found {
		if err := l.awaitRestart(c, root, end); err != nil {
			return err
		}
	}
	return nil
}

// restartLimit is longer than the supervisor's own, which knows the reason. An
// API server that is asked to end takes up to a minute.
const restartLimit = 4 * time.Minute

func (l Layout) awaitRestart(c child, root process.Identity, end time.Time) error {
	for time.Now().Before(end) {
		if _, asked := l.restartAsked(c.name, c.inside); !asked {
			return nil
		}
		if !root.Alive() {
			why, _ := os.ReadFile(l.failureFile())
			return fmt.Errorf("%s did not come back, and the cluster ended: %s", c.name, strings.TrimSpace(string(why)))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s did not come back: see %s", c.name, l.log(c.name))
}

// A child is one process, with the number that it has for its supervisor and the
// one it has on the host.
type child struct {
	name         string
	inside, host process.Identity
}

func (l Layout) child(name string, root process.Identity, namespaced bool) (child, error) {
	known := l.componentNames()
	if !slices.Contains(known, name) {
		return child{}, fmt.Errorf("there is no component %q: name some of %s", name, strings.Join(known, ", "))
	}
	id, err := process.Recorded(l.childRecord(name))
	if err != nil {
		return child{}, err
	}
	c := child{name: name, inside: id, host: id}
	if namespaced {
		c.host.PID = hostPIDs(root.PID)[id.PID]
	}
	if !c.host.Alive() {
		return c, fmt.Errorf("%s does not run now: see %s", name, l.log(name))
	}
	return c, nil
}
