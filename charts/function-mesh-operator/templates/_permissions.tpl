{{/* Permissions of the controller, in the cluster or in each watched namespace. A test compares them with its requests to
     the API server. No Secrets, no exec. */}}
{{- define "fm.controller.rules" -}}
# The kinds that it reconciles. It creates the components of a mesh.
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes, backendconfigs]
  verbs: [list, watch]
- apiGroups: [compute.functionmesh.io]
  resources: [functions, sources, sinks]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes/status, functions/status, sources/status, sinks/status]
  verbs: [patch]
# To set blockOwnerDeletion, where the cluster enables OwnerReferencesPermissionEnforcement.
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes/finalizers, functions/finalizers, sources/finalizers, sinks/finalizers]
  verbs: [update]
# The replicas of a component with `scaling`, and of one whose autoscaler gets other bounds.
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
# The last good template of a component with `rollout.onFailure: RollBack`.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get]
# Services are never deleted. Some API servers require the permission to adopt one
# (OwnerReferencesPermissionEnforcement).
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
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
# Why the API server rejects pods.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if (.Values.observer | default dict).enabled }}
# The address of a component's Pulsar cluster, to observe its message traffic.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end }}
{{- if or (.Values.observer | default dict).enabled (.Values.rollouts | default dict).deleteStuckPods }}
# To restart a pod of a stalled component with `onStall: Restart`, and to delete one that blocks its own repair.
- apiGroups: [""]
  resources: [pods]
  verbs: [delete]
{{- end }}
{{- end }}

{{/* Permissions of the console, in the cluster or in each watched namespace. It writes nothing. Of what it reads it shows
     a viewer only what they may read themselves. */}}
{{- define "fm.console.rules" -}}
- apiGroups: [compute.functionmesh.io]
  resources: [functionmeshes]
  verbs: [list, watch]
- apiGroups: [compute.functionmesh.io]
  resources: [functions, sources, sinks]
  verbs: [get, list, watch]
# The panel of a component.
- apiGroups: [""]
  resources: [pods, events]
  verbs: [list]
{{- if .Values.console.logs }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- end }}
