// Package argocd runs the scripts of examples/gitops/argocd-cm.yaml as Argo CD does: a Lua interpreter with the object
// in the variable obj, whose result is a health or the changed object.
package argocd

import (
	"os"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

const group = "compute.functionmesh.io_"

type object = map[string]any

func scripts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../examples/gitops/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		t.Fatal(err)
	}
	return configMap.Data
}

// run gives the result of a script as Go values.
func run(t *testing.T, script, obj string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(obj), &value); err != nil {
		t.Fatal(err)
	}
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, value))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	return fromLua(state.Get(-1))
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	}
	return lua.LNil
}

func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case *lua.LTable:
		fields := object{}
		value.ForEach(func(key, item lua.LValue) { fields[key.String()] = fromLua(item) })
		return fields
	case lua.LString:
		return string(value)
	case lua.LBool:
		return bool(value)
	}
	return nil
}

func TestHealthOfEachState(t *testing.T) {
	const ready = "{type: Ready, status: 'True', message: all pods are ready}"
	const starting = "{type: Ready, status: 'False', message: 0 of 1 pods are ready}"
	const failing = "{type: Degraded, status: 'True'}, {type: Ready, status: 'False', message: it fails}"
	for _, test := range []struct{ name, status, health, message string }{
		{"new", "{}", "Progressing", "waiting for the operator"},
		{"changed", "{observedGeneration: 1, LIST: [" + ready + "]}", "Progressing", "waiting for the operator"},
		{"starting", "{observedGeneration: 2, LIST: [" + starting + "]}", "Progressing", "0 of 1 pods are ready"},
		{"ready", "{observedGeneration: 2, LIST: [" + ready + "]}", "Healthy", "all pods are ready"},
		{"degraded", "{observedGeneration: 2, LIST: [" + failing + "]}", "Degraded", "it fails"},
		{"invalid", "{observedGeneration: 2, LIST: [{type: Accepted, status: 'False'}, " + starting + "]}", "Degraded", "0 of 1 pods are ready"},
		{"asleep", "{observedGeneration: 2, phase: Asleep, LIST: [" + ready + "]}", "Healthy", "all pods are ready"},
		{"paused", "{observedGeneration: 2, LIST: [{type: Paused, status: 'True'}, " + ready + "]}", "Suspended", "all pods are ready"},
	} {
		for kind, list := range map[string]string{
			"FunctionMesh": "conditions",
			"Function":     "conditions: {StatefulSet: {condition: Ready}}, standardConditions",
			"Source":       "standardConditions",
			"Sink":         "standardConditions",
		} {
			t.Run(kind+" "+test.name, func(t *testing.T) {
				script := scripts(t)["resource.customizations.health."+group+kind]
				status := strings.ReplaceAll(test.status, "LIST", list)
				health := run(t, script, "{metadata: {generation: 2}, status: "+status+"}").(object)
				if health["status"] != test.health || health["message"] != test.message {
					t.Errorf("got %v, expected %s: %s", health, test.health, test.message)
				}
			})
		}
	}
}

func TestActionsSetAnnotations(t *testing.T) {
	const suspend, restart = "compute.functionmesh.io/suspend", "kubectl.kubernetes.io/restartedAt"
	const suspended = "{metadata: {annotations: {compute.functionmesh.io/suspend: 'true'}}}"
	for _, kind := range []string{"FunctionMesh", "Function", "Source", "Sink"} {
		var actions struct {
			Discovery   string `json:"discovery.lua"`
			Definitions []struct {
				Name   string `json:"name"`
				Action string `json:"action.lua"`
			} `json:"definitions"`
		}
		if err := yaml.UnmarshalStrict([]byte(scripts(t)["resource.customizations.actions."+group+kind]), &actions); err != nil {
			t.Fatal(err)
		}
		offered := run(t, actions.Discovery, suspended).(object)
		if len(offered) != len(actions.Definitions) {
			t.Errorf("%s: offered are %v", kind, offered)
		}
		for _, action := range actions.Definitions {
			isDisabled := offered[action.Name].(object)["disabled"].(bool)
			if isDisabled != (action.Name != "resume") {
				t.Errorf("%s: %s of a suspended object: disabled is %v", kind, action.Name, isDisabled)
			}
			annotations := func(obj string) object {
				return run(t, action.Action, obj).(object)["metadata"].(object)["annotations"].(object)
			}
			plain, of := annotations("{metadata: {}}"), annotations(suspended)
			switch action.Name {
			case "restart":
				if at, _ := plain[restart].(string); !strings.HasPrefix(at, "20") || !strings.HasSuffix(at, "Z") {
					t.Errorf("%s: restarted at %q", kind, at)
				}
			case "suspend":
				if plain[suspend] != "true" {
					t.Errorf("%s: suspend sets %v", kind, plain)
				}
			case "resume":
				if of[suspend] != nil {
					t.Errorf("%s: resume leaves %v", kind, of)
				}
			default:
				t.Errorf("%s: unknown action %s", kind, action.Name)
			}
		}
	}
}
