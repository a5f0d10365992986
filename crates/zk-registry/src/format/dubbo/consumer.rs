//! Dubbo's consumers: what a reader of an interface states of itself, beside the providers.

use super::url::{CLIENT, PROTOCOL_VERSION};
use crate::error::Error;
use crate::format::curator::record::milliseconds;
use crate::format::percent;
use crate::format::sealed::{Place, Record, check_host};
use crate::instance::Instance;

/// A consumer: which providers it reads, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consumer<'a> {
    pub(super) application: &'a str,
    pub(super) group: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) protocol: Option<&'a str>,
    pub(super) methods: &'a str,
}

impl Consumer<'_> {
    /// The node of a consumer on the host of `instance`.
    pub(super) fn record(self, place: &Place<'_>, instance: &Instance) -> Result<Record, Error> {
        check_host("dubbo", instance)?;
        let directory = format!("{}/{CONSUMERS}", percent::encode(place.service.as_str())).parse()?;
        let name = percent::encode(&self.url(place, instance.host())).parse()?;
        Ok(Record { directory, name, data: Vec::new() })
    }

    /// The url, which is encoded once, as a whole. It has no port: nobody dials it.
    fn url(self, place: &Place<'_>, host: &str) -> String {
        let Self { application, group, version, protocol, methods } = self;
        let (pid, timestamp) = (std::process::id().to_string(), milliseconds(place.registered).to_string());
        let mut parameters = vec![
            ("application", application),
            ("category", CONSUMERS),
            ("check", "false"),
            ("dubbo", PROTOCOL_VERSION),
            ("interface", place.service.as_str()),
            ("methods", methods),
            ("pid", &pid),
            ("release", CLIENT),
            ("side", "consumer"),
            ("sticky", "false"),
            ("timestamp", &timestamp),
        ];
        let stated = [("group", group), ("protocol", protocol), ("version", version)];
        parameters.extend(stated.into_iter().filter_map(|(key, value)| Some((key, value?))));
        parameters.sort_unstable();
        let query: Vec<_> = parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        format!("consumer://{host}/{}?{}", place.service, query.join("&"))
    }
}

const CONSUMERS: &str = "consumers";

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use uuid::Uuid;

    use super::*;
    use crate::format::named;
    use crate::format::sealed::Owner;
    use crate::instance::ServiceName;

    #[test]
    fn a_consumer_states_what_it_reads_and_is_read_back() {
        let format = named("dubbo:group=*,version=1.0.0,protocol=tri,consumer=shop").unwrap();
        let service: ServiceName = "com.foo.Bar$Inner".parse().unwrap();
        let owner = Owner { host: None, incarnation: Uuid::nil() };
        for (host, told) in [("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "[2001:db8::1]")] {
            let instance = Instance::new(host, 0);
            let id = instance.id().unwrap();
            let place = Place { service: &service, id: &id, owner: &owner, registered: UNIX_EPOCH };
            let record = format.reader(&place, &instance).unwrap().unwrap();
            assert_eq!(record.directory.as_str(), "com.foo.Bar%24Inner/consumers");
            assert!(record.data.is_empty());
            let url = percent::decode(record.name.as_str()).into_owned();
            let pid = std::process::id();
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(
                url,
                format!(
                    "consumer://{told}/com.foo.Bar$Inner?application=shop&category=consumers&check=false&dubbo=2.0.2&group=*&interface=com.foo.Bar$Inner&methods=*&pid={pid}&protocol=tri&release=zk-registry-{version}&side=consumer&sticky=false&timestamp=0&version=1.0.0"
                )
            );
        }
        let nobody = Instance::new("a&b", 0);
        let id = nobody.id().unwrap();
        let place = Place { service: &service, id: &id, owner: &owner, registered: UNIX_EPOCH };
        assert!(format.reader(&place, &nobody).unwrap().is_err());
        assert!(
            named("dubbo:application=shop").unwrap().reader(&place, &nobody).is_none(),
            "not unless asked"
        );
    }

    #[test]
    fn an_application_has_to_fit_a_url() {
        assert!(named("dubbo:consumer=a&b").is_err());
    }
}
