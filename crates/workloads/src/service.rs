//! The headless Service of a component, which gives its pods DNS names.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::container_parts::{GRPC, METRICS};
use crate::context::Context;
use crate::names;

/// Builds the headless Service.
pub(crate) fn build_service(context: &Context<'_>) -> Service {
    let port = |(name, number): (&str, i32)| ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    };
    Service {
        metadata: context.child_metadata(names::service(context.object_name(), context.role())),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some([GRPC, METRICS].map(port).into()),
            selector: Some(context.labels()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
