//! A node of KWOK: its pods get the status of running ones, and nothing runs.

use std::process::Stdio;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use serde_json::{from_value, json};
use tokio::process::Child;

use crate::control_plane::ControlPlane;

/// The image that this node cannot pull. All others run at once.
pub const MISSING_IMAGE: &str = "missing";

/// What a kubelet reports of a pod whose image is missing. The weight makes KWOK prefer it to its own stage.
const MISSING_IMAGE_STAGE: &str = r#"
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-missing-image
spec:
  resourceRef: { apiGroup: v1, kind: Pod }
  selector:
    matchExpressions:
      - { key: .metadata.deletionTimestamp, operator: DoesNotExist }
      - { key: .status.podIP, operator: DoesNotExist }
      - { key: '.spec.containers[0].image', operator: In, values: [missing] }
  weight: 1
  next:
    statusTemplate: |
      {{ $now := Now }}
      phase: Pending
      podIP: 192.0.2.1
      conditions:
        - { type: Ready, status: "False", reason: ContainersNotReady, lastTransitionTime: {{ $now | Quote }} }
      containerStatuses:
      {{ range .spec.containers }}
        - name: {{ .name | Quote }}
          image: {{ .image | Quote }}
          imageID: ""
          ready: false
          restartCount: 0
          state: { waiting: { reason: ImagePullBackOff, message: not found } }
      {{ end }}
"#;

/// A simulated node. It ends when this is dropped.
#[derive(Debug)]
pub struct SimulatedNode {
    _kwok: Child,
}

impl SimulatedNode {
    /// Adds a node to this control plane, and starts what plays its kubelet.
    pub async fn start(plane: &ControlPlane) -> anyhow::Result<Self> {
        let stages = plane.command("kwok-config").output().await?;
        ensure!(stages.status.success(), "kwok-config: {}", String::from_utf8_lossy(&stages.stderr));
        let config = plane.path("kwok.yaml");
        let stages = String::from_utf8(stages.stdout)?;
        std::fs::write(&config, format!("{stages}{MISSING_IMAGE_STAGE}"))?;
        let log = plane.path("kwok.log");
        let kwok = plane
            .command("kwok")
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .arg("--config")
            .arg(&config)
            .args(["--manage-all-nodes", "--node-lease-duration-seconds", "40"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start KWOK")?;
        let room = json!({ "cpu": "32", "memory": "256Gi", "pods": "110" });
        let node: Node = from_value(json!({
            "metadata": { "name": "simulated" },
            "status": { "allocatable": &room, "capacity": &room },
        }))?;
        Api::all(plane.client().await?).create(&PostParams::default(), &node).await?;
        Ok(Self { _kwok: kwok })
    }
}
