package cluster

import (
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// A Status is what `cluster status` reports.
type Status struct {
	Dir              string            `json:"dir"`
	Ready            bool              `json:"ready"`
	Reason           string            `json:"reason,omitempty"`
	Server           string            `json:"server,omitempty"`
	Kubeconfig       string            `json:"kubeconfig,omitempty"`
	InsideKubeconfig string            `json:"insideKubeconfig,omitempty"`
	Node             string            `json:"node,omitempty"`
	NodeIP           string            `json:"nodeIP,omitempty"`
	NetNS            string            `json:"netns,omitempty"`
	Supervisor       int               `json:"supervisor,omitempty"`
	Components       []ComponentStatus `json:"components"`
}

// A ComponentStatus is one process; the pid is the host's.
type ComponentStatus struct {
	Name    string `json:"name"`
	PID     int    `json:"pid,omitempty"`
	Running bool   `json:"running"`
}

// Inspect looks at the cluster as it is now.
func Inspect(l Layout) (Status, error) {
	s := Status{Dir: l.Dir, Components: []ComponentStatus{}}
	state, err := l.loadState()
	if err != nil {
		return s, err
	}
	if state == nil {
		s.Reason = "no cluster here: start one with `cluster up --dir " + l.Dir + "`"
		return s, nil
	}
	root, err := process.Recorded(l.record(rootRecord))
	if err != nil {
		return s, err
	}
	s.Server, _ = state.endpoints()
	s.Kubeconfig, s.InsideKubeconfig = l.AdminKubeconfig(), l.InsideKubeconfig()
	if state.Node {
		s.Node, s.NodeIP, s.NetNS = nodeName, NodeIP, l.NetNS()
	}
	if !root.Alive() {
		s.Reason = "it does not run"
		if why, err := os.ReadFile(l.failureFile()); err == nil {
			s.Reason += ": " + strings.TrimSpace(string(why))
		}
		s.Reason += "; `cluster up` starts it again, `cluster down` removes it"
		return s, nil
	}
	s.Supervisor = root.PID
	s.Components = l.componentStatus(root, state.Node)
	s.Reason = l.notReadyReason(state, s.Components)
	s.Ready = s.Reason == ""
	return s, nil
}

func (l Layout) notReadyReason(state *State, components []ComponentStatus) string {
	if !state.Ready {
		return "it is still starting"
	}
	for _, c := range components {
		if !c.Running {
			return c.Name + " does not run"
		}
	}
	outside, _ := state.endpoints()
	api, err := l.apiClient(outside)
	if err == nil {
		err = api.get("/readyz", nil)
	}
	if err != nil {
		return "kube-apiserver: " + err.Error()
	}
	if !state.Node {
		return ""
	}
	n, err := api.node()
	if err == nil {
		err = n.readyError(time.Time{})
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// componentStatus lists the supervisor's children and what runs beside it.
func (l Layout) componentStatus(root process.Identity, namespaced bool) []ComponentStatus {
	var list []ComponentStatus
	toHost := map[int]int{}
	if namespaced {
		toHost = hostPIDs(root.PID)
	}
	for _, name := range l.componentNames() {
		id, _ := process.Recorded(l.childRecord(name))
		if namespaced {
			id.PID = toHost[id.PID] // start times count alike in both
		}
		list = append(list, ComponentStatus{Name: name, PID: id.PID, Running: id.Alive()})
	}
	records, _ := filepath.Glob(l.record("*"))
	for _, file := range records {
		if name := strings.TrimSuffix(filepath.Base(file), ".pid"); name != rootRecord {
			id, _ := process.Recorded(file)
			list = append(list, ComponentStatus{Name: name, PID: id.PID, Running: id.Alive()})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// componentNames are those that the supervisor has started.
func (l Layout) componentNames() []string {
	files, _ := filepath.Glob(l.childRecord("*"))
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".child"))
	}
	return names
}

// hostPIDs maps the pids of a namespace, given by its first process, to the
// host's.  The kernel reports both in NSpid, which is "HOST INSIDE".
func hostPIDs(first int) map[int]int {
	pids := map[int]int{}
	namespace, err := os.Readlink("/proc/" + strconv.Itoa(first) + "/ns/pid")
	if err != nil {
		return pids
	}
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range all {
		if ns, err := os.Readlink(filepath.Join(filepath.Dir(file), "ns/pid")); err != nil || ns != namespace {
			continue
		}
		b, _ := os.ReadFile(file)
		_, line, _ := strings.Cut(string(b), "\nNSpid:")
		line, _, _ = strings.Cut(line, "\n")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		host, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		inside, _ := strconv.Atoi(fields[len(fields)-1])
		pids[inside] = host
	}
	return pids
}
