//! Services that it is a risk to open, by the ports that they have: one list for lint and for `genkan audit`.

use genkan_engine::plan::ForwardRule;
use genkan_engine::wire::ipv4::Protocol;

/// What is dangerous about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A login without encryption.
    Cleartext,
    /// A login, to try passwords at.
    Login,
    /// A remote desktop.
    Desktop,
    /// A file share.
    Files,
    /// A database.
    Database,
    /// A camera: pictures, or its controls.
    Camera,
    /// A printer.
    Printer,
    /// The page by which a device is administered.
    Admin,
}

impl Kind {
    /// Attackers try it on every address, all day: lint says so too.
    pub const fn is_attacked_everywhere(self) -> bool {
        matches!(self, Kind::Cleartext | Kind::Login | Kind::Desktop | Kind::Files | Kind::Database)
    }

    /// A name that stays.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Cleartext => "cleartext",
            Kind::Login => "login",
            Kind::Desktop => "desktop",
            Kind::Files => "files",
            Kind::Database => "database",
            Kind::Camera => "camera",
            Kind::Printer => "printer",
            Kind::Admin => "admin",
        }
    }
}

/// A service at its usual port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens unless told otherwise.
    pub port: u16,
    /// What people call it.
    pub name: &'static str,
    /// What is dangerous about it.
    pub kind: Kind,
}

const fn tcp(port: u16, name: &'static str, kind: Kind) -> Service {
    Service { protocol: Protocol::TCP, port, name, kind }
}

const fn udp(port: u16, name: &'static str, kind: Kind) -> Service {
    Service { protocol: Protocol::UDP, port, name, kind }
}

/// All of them, by port.
pub const SERVICES: &[Service] = &[
    tcp(22, "SSH", Kind::Login),
    tcp(23, "Telnet", Kind::Cleartext),
    tcp(139, "SMB over NetBIOS", Kind::Files),
    tcp(445, "SMB", Kind::Files),
    tcp(515, "LPD", Kind::Printer),
    tcp(554, "RTSP", Kind::Camera),
    udp(554, "RTSP", Kind::Camera),
    tcp(631, "IPP", Kind::Printer),
    tcp(1433, "Microsoft SQL Server", Kind::Database),
    tcp(1521, "Oracle Database", Kind::Database),
    tcp(3306, "MySQL", Kind::Database),
    tcp(3389, "RDP", Kind::Desktop),
    udp(3389, "RDP", Kind::Desktop),
    udp(3702, "ONVIF discovery", Kind::Camera),
    tcp(5000, "Synology DSM", Kind::Admin),
    tcp(5001, "Synology DSM", Kind::Admin),
    tcp(5432, "PostgreSQL", Kind::Database),
    tcp(5900, "VNC", Kind::Desktop),
    tcp(6379, "Redis", Kind::Database),
    tcp(8000, "Hikvision", Kind::Camera),
    tcp(8006, "Proxmox", Kind::Admin),
    tcp(8291, "Winbox", Kind::Admin),
    tcp(8554, "RTSP", Kind::Camera),
    tcp(9100, "JetDirect", Kind::Printer),
    tcp(9200, "Elasticsearch", Kind::Database),
    tcp(10000, "Webmin", Kind::Admin),
    tcp(11211, "memcached", Kind::Database),
    udp(11211, "memcached", Kind::Database),
    tcp(27017, "MongoDB", Kind::Database),
    tcp(34567, "Xiongmai DVR", Kind::Camera),
    tcp(37777, "Dahua", Kind::Camera),
];

/// Those that a forward leads to, by the port that they have inside or the one that they are called at.
pub fn of_forward(rule: &ForwardRule) -> impl Iterator<Item = &'static Service> + '_ {
    let holds = |port: u16| {
        rule.ports.iter().any(|range| {
            let length = range.external_last - range.external_first;
            let inside = range.internal_first..=range.internal_first.saturating_add(length);
            inside.contains(&port) || (range.external_first..=range.external_last).contains(&port)
        })
    };
    SERVICES.iter().filter(move |service| rule.protocols.contains(&service.protocol) && holds(service.port))
}
