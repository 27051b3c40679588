//! Where no router runs, nobody has given the wan an address: what tools suppose then.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml_edit::{DocumentMut, value};

use crate::{Facts, Loaded, WanFacts};

/// Networks that nobody has (RFC 5737): the first is what examples have.
const SUPPOSED: [[u8; 3]; 3] = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];

impl Loaded {
    /// The configuration for a tool without a router: a wan that gets its address by DHCP has one, 203.0.113.1/24 with the
    /// gateway 203.0.113.2, or the same of 198.51.100.0/24 or 192.0.2.0/24 where something else of the file is there.
    #[must_use]
    pub fn supposed(&self) -> Loaded {
        match self.supposed_wan() {
            Some(wan) => self.with(&Facts { wan: Some(wan), ..Facts::default() }),
            None => self.clone(),
        }
    }

    /// The text of the file with that address written in the place of `dhcp`, for a router in a lab.
    pub fn supposed_text(&self) -> String {
        let text = self.places.file.text();
        if self.config.wan_dhcp.is_none() {
            return text.to_owned();
        }
        let Ok(mut document) = text.parse::<DocumentMut>() else { return text.to_owned() };
        let given = self.supposed().plan.wan;
        if let Some(wan) = document.get_mut("wan").and_then(|wan| wan.as_table_like_mut()) {
            wan.insert("address", value(given.address.to_string()));
            if let Some(gateway) = given.gateway {
                wan.insert("gateway", value(gateway.to_string()));
            }
            wan.remove("dhcp");
        }
        document.to_string()
    }

    fn supposed_wan(&self) -> Option<WanFacts> {
        self.config.wan_dhcp.as_ref().filter(|_| self.plan.wan.primary().is_none())?;
        let host = |[a, b, c]: [u8; 3], last| Ipv4Addr::new(a, b, c, last);
        let network = |net| Ipv4Net::new_assert(host(net, 1), 24);
        let is_free = |net: &[u8; 3]| {
            let net = network(*net);
            let lans = self.plan.lans.iter().map(|lan| lan.address);
            let further = self.plan.wan.addresses.iter().copied().map(Ipv4Net::from);
            let mut taken = lans.chain(self.plan.routes.iter().map(|route| route.to)).chain(further);
            !taken.any(|taken| taken.contains(&net) || net.contains(&taken))
        };
        let net = SUPPOSED.into_iter().find(is_free)?;
        Some(WanFacts {
            address: network(net),
            gateway: Some(host(net, 2)),
            routes: Vec::new(),
            mtu: None,
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[wan]\ndevice = \"eth0\"\naddress = \"dhcp\" # by the provider\ndhcp = { hostname = \"genkan\" }\n\
                        [[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n";

    fn loaded(text: &str) -> Loaded {
        crate::parse(text, "genkan.toml").unwrap_or_else(|errors| panic!("{}", crate::render(&errors, false)))
    }

    #[test]
    fn only_a_wan_without_an_address_has_one_supposed() {
        let fixed = loaded(&TEXT.replace("dhcp = {", "#").replace("\"dhcp\"", "\"192.0.2.9/24\""));
        assert_eq!(fixed.supposed(), fixed);
        assert_eq!(fixed.supposed_text(), fixed.places.file.text());
        let wan = loaded(TEXT).supposed().plan.wan;
        assert_eq!(
            (wan.address.to_string(), wan.gateway),
            ("203.0.113.1/24".into(), Some([203, 0, 113, 2].into()))
        );
        let elsewhere = loaded(&TEXT.replace("192.168.0.1", "203.0.113.129"));
        assert_eq!(elsewhere.supposed().plan.wan.address.to_string(), "198.51.100.1/24");
    }

    #[test]
    fn the_text_for_a_lab_means_the_same() {
        let leased = loaded(TEXT);
        let fixed = loaded(&leased.supposed_text());
        assert_eq!(fixed.config.wan_dhcp, None);
        assert_eq!(fixed.plan.wan, leased.supposed().plan.wan);
        assert_eq!(leased.supposed().supposed_text(), leased.supposed_text());
    }
}
