//! A change that the page asks for: what its body says, and what came of it.

use hyper::StatusCode;
use serde::Deserialize;
use zk_registry::operate::Operator;
use zk_registry::printable::Printable;
use zk_registry::{ServiceName, Status, Zxid};

use crate::amend::{Amended, Wish, amend, weight};
use crate::exit::Exit;
use crate::fleet::id;

#[derive(Deserialize)]
struct Asked {
    service: String,
    id: String,
    /// The write that last changed the instance, as it was shown. A string: scripts round large numbers.
    shown: String,
    /// `drain`, `undrain`, or a weight.
    wish: String,
}

/// Makes a change; its status, and a line about it.
pub(super) async fn change(operator: &Operator, body: &[u8]) -> (StatusCode, String) {
    let (service, id, shown, wish) = match read(body) {
        Ok(read) => read,
        Err(why) => return (StatusCode::BAD_REQUEST, Printable(why).to_string()),
    };
    match amend(operator, &service, &id, &wish, Some(shown)).await {
        Ok(Amended::Already) => (StatusCode::OK, format!("{}: it is so already", Printable(&id))),
        Ok(Amended::Written(_, changed)) => {
            (StatusCode::OK, Printable(format!("{id}: written, {}", changed.join(", "))).to_string())
        }
        Err(failure) => {
            let status = match failure.exit() {
                Exit::No => StatusCode::CONFLICT,
                Exit::Usage => StatusCode::BAD_REQUEST,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Printable(failure).to_string())
        }
    }
}

fn read(body: &[u8]) -> Result<(ServiceName, zk_registry::InstanceId, Zxid, Wish), String> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let service = asked.service.parse().map_err(|error: zk_registry::Error| error.to_string())?;
    let shown = asked.shown.parse().map_err(|_| "shown is no zxid".to_owned())?;
    let wish = match asked.wish.as_str() {
        "drain" => Wish::Status(Status::Draining, None),
        "undrain" => Wish::Status(Status::Up, None),
        number => Wish::Weight(weight(number)?),
    };
    Ok((service, id(&asked.id)?, Zxid(shown), wish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_nonsense_is_named() {
        let read = |wish: &str| {
            read(format!(r#"{{"service":"time","id":"a:1","shown":"17","wish":"{wish}"}}"#).as_bytes())
        };
        assert_eq!(read("drain").unwrap().3, Wish::Status(Status::Draining, None));
        let (service, id, shown, wish) = read("12").unwrap();
        assert_eq!(
            (service.as_str(), id.as_str(), shown, wish),
            ("time", "a:1", Zxid(17), Wish::Weight(12.try_into().unwrap()))
        );
        assert!(read("0").unwrap_err().contains("1 to 65535"));
        assert!(super::read(b"{}").unwrap_err().contains("service"));
        assert!(super::read(br#"{"service":"..","id":"a","shown":"1","wish":"drain"}"#).is_err());
    }
}
