//! Limits of single fields: the `#[validate]` attributes of the types, which the CRD schemas repeat.

use std::collections::BTreeMap;

use validator::{ValidationErrors, ValidationErrorsKind};

use crate::component::Spec;

use super::collector::Collector;
use super::violation::FieldPath;

/// Checks the attributes of a spec at `path`.
pub(super) fn check<S: Spec>(path: &FieldPath, spec: &S, findings: &mut Collector) {
    if let Err(errors) = spec.validate() {
        report(path, &errors, findings);
    }
}

fn report(path: &FieldPath, errors: &ValidationErrors, findings: &mut Collector) {
    // The map of the crate has no order.
    let ordered: BTreeMap<_, _> = errors.errors().iter().collect();
    for (name, kind) in ordered {
        let field = path.field(&camel_case(name));
        match kind {
            ValidationErrorsKind::Struct(nested) => report(&field, nested, findings),
            ValidationErrorsKind::List(items) => {
                for (index, nested) in items {
                    report(&field.index(*index), nested, findings);
                }
            }
            ValidationErrorsKind::Field(errors) => {
                for error in errors {
                    let limit = |name| error.params.get(name);
                    let message = match (error.code.as_ref(), limit("min"), limit("max")) {
                        ("length", _, Some(max)) => format!("must not be longer than {max}"),
                        ("length", ..) => "must not be empty".to_owned(),
                        ("range", Some(min), Some(max)) => format!("must be from {min} to {max}"),
                        ("range", Some(min), None) => format!("must be {min} or more"),
                        (code, ..) => format!("violates the limit `{code}`"),
                    };
                    findings.deny(field.clone(), message);
                }
            }
        }
    }
}

fn camel_case(snake: &str) -> String {
    let mut upper = false;
    let mut camel = String::with_capacity(snake.len());
    for letter in snake.chars() {
        match letter {
            '_' => upper = true,
            _ if std::mem::take(&mut upper) => camel.extend(letter.to_uppercase()),
            _ => camel.push(letter),
        }
    }
    camel
}
