//! DHCP on either side, DNS, and the devices that have to be found.

use std::time::Duration;

use genkan_config::facts::ABSENT;
use genkan_config::{Dhcp, Facts, WanDhcp};
use genkan_engine::PortId;
use genkan_engine::local_datagram::Service;
use genkan_engine::plan::LocalService;
use genkan_services::dhcp::server::Options;

use crate::{address, load, minimal_and};

#[test]
fn dhcp_of_the_wan_arrives() {
    let text = |wan: &str| {
        format!("[wan]\ndevice = \"eth0\"\n{wan}\n[[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n")
    };
    let fixed = load(&text("address = \"203.0.113.1/24\"\ngateway = \"203.0.113.2\""));
    assert_eq!((&fixed.config.wan_dhcp, &fixed.plan.services), (&None, &vec![]));
    let said = "dhcp = { client_id = \"ff:00:01\", vendor_class = \"dslforum.org\" }";
    let client = load(&text(&format!("address = \"dhcp\"\n{said}"))).config.wan_dhcp.expect("it is there");
    assert_eq!((client.client_id, client.vendor_class), (Some(vec![255, 0, 1]), Some("dslforum.org".into())));
    let leased = load(&text("address = \"dhcp\"\ndhcp.hostname = \"genkan\""));
    assert_eq!(
        leased.config.wan_dhcp,
        Some(WanDhcp { hostname: Some("genkan".into()), ..WanDhcp::default() })
    );
    assert_eq!((leased.plan.wan.primary(), leased.plan.wan.gateway), (None, None));
    let client = LocalService { service: Service::DhcpClient, port: PortId::WAN };
    assert_eq!(leased.plan.services, [client]);
    let diff = genkan_config::diff(&fixed, &leased);
    assert_eq!(
        diff.to_string(),
        "wan: address 203.0.113.1/24 -> dhcp\nwan: dhcp.hostname none -> genkan\nwan: gateway 203.0.113.2 -> none\n"
    );
    assert!(!diff.needs_restart());
    // What a lease says is no change of the file.
    let mut running = leased.clone();
    running.plan.wan.address = "203.0.113.9/24".parse().expect("a prefix");
    running.plan.wan.gateway = Some(address("203.0.113.2"));
    assert!(genkan_config::diff(&running, &leased).is_empty());
}

#[test]
fn relayed_networks_are_served_by_the_lan_that_leads_there() {
    let text = "[[lan]]\nname = \"rack\"\ndevice = \"eth2\"\naddress = \"192.168.1.1/24\"\n\
                [[route]]\nto = \"10.0.0.0/8\"\nvia = \"192.168.0.254\"\n\
                [[route]]\nto = \"10.20.0.0/16\"\nvia = \"192.168.1.254\"\n\
                [[relayed]]\nnetwork = \"10.20.0.0/24\"\npool = \"10.20.0.100-10.20.0.199\"\n\
                router = \"10.20.0.1\"\nlease = \"1h\"\nroutes = [{ to = \"10.21.0.0/16\", via = \"10.20.0.2\" }]\n\
                [[host]]\nname = \"printer\"\nclient_id = \"00:70:72\"\naddress = \"10.20.0.7\"\n";
    let loaded = minimal_and(text);
    let [relayed] = &loaded.config.relayed[..] else { panic!("{:?}", loaded.config.relayed) };
    assert_eq!((relayed.network.to_string().as_str(), relayed.lan), ("10.20.0.0/24", 1));
    let dhcp = &relayed.dhcp;
    assert_eq!(dhcp.pool, address("10.20.0.100")..=address("10.20.0.199"));
    assert_eq!(
        (&dhcp.options.routers[..], dhcp.lease),
        (&[address("10.20.0.1")][..], Duration::from_secs(3_600))
    );
    assert_eq!(dhcp.options.routes, [("10.21.0.0/16".parse().expect("a network"), address("10.20.0.2"))]);
    let on = LocalService { service: Service::DhcpServer, port: PortId::lan(1) };
    assert_eq!(loaded.plan.services, [on], "also without `dhcp` of its own");
    assert_eq!(loaded.config.hosts[0].client_id.as_deref(), Some(&[0, 0x70, 0x72][..]));
    let routes = text.split("[[relayed]]").next().unwrap_or_default();
    assert_eq!(
        genkan_config::diff(&minimal_and(routes), &loaded).to_string(),
        "relayed 10.20.0.0/24: added: lan rack, dhcp [pool 10.20.0.100-10.20.0.199, lease 1h, router 10.20.0.1, \
         dns none, domain none, ntp none, mtu none, routes [10.21.0.0/16 via 10.20.0.2]]\n\
         host printer: added: address 10.20.0.7, client_id 00:70:72\n"
    );
}

#[test]
fn hosts_without_an_address_are_nowhere_until_they_are_found() {
    let loaded = minimal_and(
        "[[host]]\nname = \"nas\"\nmac = \"52:54:00:12:34:56\"\n\
         [[host]]\nname = \"box\"\nclient_id = \"0062\"\n\
         [[forward]]\nname = \"a\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas:8080\"\n[dmz]\nto = \"box\"\n",
    );
    assert!(loaded.plan.hosts.is_empty());
    assert_eq!((loaded.plan.forwards[0].to, loaded.plan.dmz), (ABSENT, None));
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["the DMZ opens every unused port of `box` to everybody"]);
    let hosts = [("nas", "192.168.0.7"), ("box", "192.168.0.8")];
    let hosts = hosts.map(|(name, at)| (name.to_owned(), address(at))).into();
    let known = loaded.with(&Facts { hosts, ..Facts::default() });
    assert_eq!(known.plan.forwards[0].to, address("192.168.0.7"));
    assert_eq!(known.plan.dmz, Some(address("192.168.0.8")));
    assert_eq!(
        genkan_config::diff(&minimal_and(""), &loaded).to_string(),
        "host nas: added: mac 52:54:00:12:34:56\nhost box: added: client_id 00:62\n\
         forward a: added: protocol tcp, port 80, to nas:8080, from everybody, enabled true, log false\n\
         dmz: to none -> box\n"
    );
}

#[test]
fn dhcp_of_a_lan_arrives() {
    let loaded = minimal_and("[lan.dhcp]\npool = \"192.168.0.100-192.168.0.199\"\n");
    let mut dhcp = Dhcp {
        pool: address("192.168.0.100")..=address("192.168.0.199"),
        lease: Duration::from_secs(12 * 3_600),
        options: Options { routers: vec![address("192.168.0.1")], ..Options::default() },
    };
    assert_eq!(loaded.config.dhcp, [Some(dhcp.clone())]);
    let on = LocalService { service: Service::DhcpServer, port: PortId::lan(0) };
    assert_eq!(loaded.plan.services, [on]);

    let options = "lease = \"2h\"\nrouter = \"192.168.0.254\"\ndns = [\"192.0.2.53\"]\n\
                   domain = \"home.arpa\"\nntp = [\"192.0.2.123\"]\nmtu = 1492\nvendor = \"01:02:ff\"\n\
                   routes = [{ to = \"10.20.0.0/16\", via = \"192.168.0.254\" }]\n\
                   options = [{ code = 67, text = \"boot\" }, { code = 66, hex = \"0102\" }]\n";
    let text = format!("[lan.dhcp]\npool = \"192.168.0.100-192.168.0.199\"\n{options}");
    let more = minimal_and(&format!("{text}[[lan]]\ndevice = \"eth2\"\naddress = \"192.168.1.1/24\"\n"));
    dhcp.lease = Duration::from_secs(2 * 3_600);
    dhcp.options = Options {
        routers: vec![address("192.168.0.254")],
        dns: vec![address("192.0.2.53")],
        domain: Some("home.arpa".into()),
        ntp: vec![address("192.0.2.123")],
        mtu: Some(1492),
        routes: vec![("10.20.0.0/16".parse().expect("a network"), address("192.168.0.254"))],
        vendor: vec![1, 2, 255],
        others: vec![(67, b"boot".to_vec()), (66, vec![1, 2])],
    };
    assert_eq!(more.config.dhcp, [Some(dhcp), None]);

    let changes = genkan_config::diff(&minimal_and(""), &loaded);
    assert_eq!(
        changes.to_string().trim_end(),
        "lan eth1: dhcp none -> [pool 192.168.0.100-192.168.0.199, lease 12h, router 192.168.0.1, dns none, \
         domain none, ntp none, mtu none]"
    );
    assert!(minimal_and("").plan.services.is_empty());
}

#[test]
fn dns_is_told_by_dhcp_and_heard_on_every_lan() {
    let pool = "[lan.dhcp]\npool = \"192.168.0.100-192.168.0.199\"\n";
    let more = "[[lan]]\ndevice = \"eth2\"\naddress = \"192.168.1.1/24\"\n\
                [lan.dhcp]\npool = \"192.168.1.100-192.168.1.199\"\ndns = [\"192.0.2.9\"]\ndomain = \"b.example\"\n\
                [router]\ntun = \"genkan0\"\n";
    let upstreams = "upstreams = [\"192.0.2.53\", \"tls://192.0.2.54#dns.example.net\"]\n";
    let loaded = minimal_and(&format!("{pool}{more}[dns]\n{upstreams}"));
    let options = loaded.config.dhcp.iter().flatten().map(|dhcp| &dhcp.options);
    let told: Vec<_> = options.map(|told| (&told.dns[..], told.domain.as_deref())).collect();
    let (own, other) = ([address("192.168.0.1")], [address("192.0.2.9")]);
    assert_eq!(told, [(&own[..], Some("home.arpa")), (&other[..], Some("b.example"))]);
    for lan in 0..2 {
        assert!(
            loaded.plan.services.contains(&LocalService { service: Service::Dns, port: PortId::lan(lan) })
        );
    }
    let dns = loaded.config.dns.clone().expect("it is on");
    let written: Vec<String> = dns.upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["192.0.2.53:53", "tls://192.0.2.54:853#dns.example.net"]);

    let off = minimal_and(&format!("{pool}{more}"));
    let changes = genkan_config::diff(&off, &loaded).to_string();
    assert!(changes.contains("dns: on, upstreams [192.0.2.53:53, tls://192.0.2.54:853#dns.example.net]\n"));
    let wider = minimal_and(&format!("{pool}{more}[dns]\n{upstreams}cache = \"8 MiB\"\n"));
    assert_eq!(genkan_config::diff(&loaded, &wider).to_string(), "dns: cache 4 MiB -> 8 MiB\n");
}
