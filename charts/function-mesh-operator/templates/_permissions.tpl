{{/* What the controller may do: in the whole cluster, or in each namespace that it looks after. A test compares this
     with what the program asks of the API server. No secrets, no exec. */}}
{{- define "fm.controller.rules" -}}
# The kinds that it looks after. A mesh's components are made from it.
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes, backendconfigs]
  verbs: [list, watch]
- apiGroups: [compute.functionmesh.io]
  resources: [functions, sources, sinks]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes/status, functions/status, sources/status, sinks/status]
  verbs: [patch]
# To own an object whose owner must not go before it, where the cluster checks that.
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes/finalizers, functions/finalizers, sources/finalizers, sinks/finalizers]
  verbs: [update]
- apiGroups: [compute.functionmesh.io]
  resources: [functions/scale, sources/scale, sinks/scale]
  verbs: [patch]
# What a component becomes.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling.k8s.io]
  resources: [verticalpodautoscalers]
  verbs: [get, create, patch, delete]
# Removing the subscriptions of a deleted component.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Why a component is not ready.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Why the API server rejects its pods: a quota or a policy.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
