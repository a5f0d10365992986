//! One change to a record of Curator's family, whoever wrote it: every mark that readers go by, and nothing else.

use super::payload::{OUT_OF_SERVICE, STATUS, UP, WEIGHT};
use super::read::{DRAINING, OUR_KEY, VERSION};
use crate::format::fields::Fields;
use crate::format::jackson;
use crate::format::sealed::Amendment;
use crate::instance::{DRAIN_REASON, Status};

/// Where a weight is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::format) enum WeightIn {
    /// Under our own key.
    Ours,
    /// In Spring's metadata.
    Payload,
}

/// The record with one thing changed.
///
/// A status has three marks: Curator's `enabled`, Spring's `instance_status` where the payload has one, and ours where our key
/// is.
pub(in crate::format) fn amend(
    data: &[u8],
    amendment: Amendment<'_>,
    weight_in: WeightIn,
) -> Result<Vec<u8>, String> {
    let mut record = Fields::of(jackson::text(data))?;
    match amendment {
        Amendment::Status(status, reason) => {
            set_status(&mut record, status == Status::Draining);
            set_reason(&mut record, reason, weight_in);
        }
        Amendment::Weight(weight) if weight_in == WeightIn::Ours => {
            let mut ours =
                inner(&record, OUR_KEY).unwrap_or_else(|| Fields::single("v", VERSION.to_string()));
            ours.set("weight", weight.to_string());
            record.set(OUR_KEY, ours.json());
        }
        Amendment::Weight(weight) => {
            if !set_metadata(&mut record, WEIGHT, Some(format!("\"{weight}\""))) {
                return Err("its payload has no metadata for a weight".to_owned());
            }
        }
    }
    Ok(record.json().into_bytes())
}

fn set_status(record: &mut Fields, is_draining: bool) {
    if is_draining || record.get("enabled").is_some() {
        record.set("enabled", (!is_draining).to_string());
    }
    if let Some(mut ours) = inner(record, OUR_KEY) {
        if is_draining {
            ours.set("status", format!("\"{DRAINING}\""));
        } else {
            ours.remove("status");
        }
        record.set(OUR_KEY, ours.json());
    }
    let metadata = inner(record, PAYLOAD).and_then(|payload| inner(&payload, METADATA));
    if metadata.is_some_and(|metadata| metadata.get(STATUS).is_some()) {
        let word = if is_draining { OUT_OF_SERVICE } else { UP };
        set_metadata(record, STATUS, Some(format!("\"{word}\"")));
    }
}

/// Writes why an instance is draining into the metadata that readers of its dialect see, or takes the last reason out.
fn set_reason(record: &mut Fields, reason: Option<&str>, at: WeightIn) {
    let reason = reason.map(|reason| serde_json::Value::from(reason).to_string());
    let ours = inner(record, OUR_KEY);
    if at == WeightIn::Payload || ours.is_none() && reason.is_none() {
        set_metadata(record, DRAIN_REASON, reason);
        return;
    }
    let mut ours = ours.unwrap_or_else(|| Fields::single("v", VERSION.to_string()));
    match (inner(&ours, METADATA), reason) {
        (None, None) => return,
        (Some(mut metadata), reason) => {
            metadata.put(DRAIN_REASON, reason);
            ours.put(METADATA, (!metadata.is_empty()).then(|| metadata.json()));
        }
        (None, Some(reason)) => ours.set(METADATA, Fields::single(DRAIN_REASON, reason).json()),
    }
    record.set(OUR_KEY, ours.json());
}

/// Sets an entry of the payload's metadata, or takes it out; whether there is such a thing as that metadata.
fn set_metadata(record: &mut Fields, key: &str, json: Option<String>) -> bool {
    let Some(mut payload) = inner(record, PAYLOAD) else { return false };
    let Some(mut metadata) = inner(&payload, METADATA) else { return false };
    if json.is_some() || metadata.get(key).is_some() {
        metadata.put(key, json);
        payload.set(METADATA, metadata.json());
        record.set(PAYLOAD, payload.json());
    }
    true
}

fn inner(fields: &Fields, key: &str) -> Option<Fields> {
    fields.get(key).and_then(|json| Fields::of(json).ok())
}

const PAYLOAD: &str = "payload";
const METADATA: &str = "metadata";
