//! An origin and its copy, and the bridges between them.

use crate::process::{Bridge, free_address};
use crate::proxy::Proxy;
use crate::role::Router;
use crate::table::{Link, Table, counter_of};
use crate::until;

/// An origin, its copy, and a proxy between their bridges.
pub struct Pair {
    pub origin: Table,
    pub copy: Table,
    /// The address of the exporter, or of a router.
    pub address: String,
    pub proxy: Proxy,
}

impl Pair {
    /// Creates the names of the tables, and the proxy.
    pub fn new(test: &str) -> Self {
        let address = free_address();
        let proxy = Proxy::to(&address);
        let copy = format!("{test}-copy");
        Self { origin: Table::new(test), copy: Table::new(&copy), address, proxy }
    }

    /// Starts the exporter.
    pub fn export(&self) -> Bridge {
        Bridge::export(self.origin.name(), "a", &self.address)
    }

    /// Starts the importer, which connects through the proxy.
    pub fn import(&self) -> Bridge {
        self.import_as(&self.copy, self.proxy.address())
    }

    /// Starts an importer that connects to an address.
    pub fn import_as(&self, copy: &Table, address: &str) -> Bridge {
        Bridge::import(&self.wanted(), copy.name(), address)
    }

    /// Returns `HOST/TABLE`.
    pub fn wanted(&self) -> String {
        format!("a/{}", self.origin.name())
    }

    /// Starts an exporter and an importer that connect to the router at the address; the importer
    /// does so through the proxy.
    pub fn through_router(&self) -> (Bridge, Bridge) {
        let config = Router::config_of_clients();
        let Self { origin, copy, address, proxy } = self;
        let (origin, copy, config, near) =
            (origin.name(), copy.name(), config.path(), proxy.address());
        let exporter = Bridge::start(&format!(
            "export {origin} --host a --connect {address} --config {config}"
        ));
        let importer = Bridge::start(&format!(
            "import a/{origin} --as {copy} --connect {near} --config {config}"
        ));
        (exporter, importer)
    }

    /// Waits until the copy has a newer version than it has now.
    pub fn counts(&self) {
        counts(&self.copy);
    }

    /// Waits until the link of the importer has this state.
    pub fn is(&self, importer: &Bridge, state: &str) -> Link {
        let mut found = None;
        until(&format!("the link is {state}"), || {
            found = importer.link(&self.copy);
            found.as_ref().is_some_and(|link| link.text("state") == state)
        });
        found.expect("the condition")
    }
}

/// Waits until a copy has a newer version than it has now.
pub fn counts(copy: &Table) {
    let before = counter_of(copy.name()).unwrap_or(0);
    until(&format!("{} has a newer version", copy.name()), || {
        counter_of(copy.name()).is_some_and(|counter| counter > before)
    });
    copy.remember();
}
