//! The headless Service, which gives each pod of a component a name.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::container::{GRPC, METRICS};
use crate::context::Context;
use crate::names;

/// The headless Service of a component.
pub(crate) fn of(context: &Context<'_>) -> Service {
    let port = |(name, number): (&str, i32)| ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    };
    Service {
        metadata: context.child(names::service(context.object(), context.role())),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some([GRPC, METRICS].map(port).into()),
            selector: Some(context.labels()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
