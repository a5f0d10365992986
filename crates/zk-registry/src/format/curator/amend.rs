//! One change to a record of Curator's family, whoever wrote it: every mark that readers go by, and nothing else.

use super::payload::{OUT_OF_SERVICE, STATUS, UP, WEIGHT};
use super::read::{DRAINING, OUR_KEY, VERSION};
use crate::format::fields::Fields;
use crate::format::jackson;
use crate::format::sealed::Amendment;
use crate::instance::Status;

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
    amendment: Amendment,
    weight_in: WeightIn,
) -> Result<Vec<u8>, String> {
    let mut record = Fields::of(jackson::text(data))?;
    match amendment {
        Amendment::Status(status) => set_status(&mut record, status == Status::Draining),
        Amendment::Weight(weight) if weight_in == WeightIn::Ours => {
            let mut ours =
                inner(&record, OUR_KEY).unwrap_or_else(|| Fields::single("v", VERSION.to_string()));
            ours.set("weight", weight.to_string());
            record.set(OUR_KEY, ours.json());
        }
        Amendment::Weight(weight) => {
            if !set_metadata(&mut record, WEIGHT, &format!("\"{weight}\"")) {
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
        set_metadata(record, STATUS, &format!("\"{word}\""));
    }
}

/// Sets an entry of the payload's metadata; whether there is such a thing.
fn set_metadata(record: &mut Fields, key: &str, json: &str) -> bool {
    let Some(mut payload) = inner(record, PAYLOAD) else { return false };
    let Some(mut metadata) = inner(&payload, METADATA) else { return false };
    metadata.set(key, json.to_owned());
    payload.set(METADATA, metadata.json());
    record.set(PAYLOAD, payload.json());
    true
}

fn inner(fields: &Fields, key: &str) -> Option<Fields> {
    fields.get(key).and_then(|json| Fields::of(json).ok())
}

const PAYLOAD: &str = "payload";
const METADATA: &str = "metadata";
