//! Where the database is, and how to get there.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Config, Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, NoTls};

use super::schema;
use super::tls::Verified;
use super::trouble::Trouble;

/// The variable that other programs of PostgreSQL read, too.
const PASSWORD: &str = "PGPASSWORD";
/// How long each host may take to let this side in, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the tables may take to be made, a turn of another replica's included.
const MAKE: Duration = Duration::from_secs(30);

/// What holds for each connection: nobody waits long for another one's row, which would hold up all
/// others on this connection, and what is done is on disk, whatever the database does by default.
const SESSION: &str = "
SET lock_timeout = '500ms';
SET default_transaction_isolation = 'read committed';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// The address of a database, without a password.
#[derive(Clone)]
pub struct Address {
    config: Config,
    password_file: Option<PathBuf>,
    authority: Option<PathBuf>,
}

impl Address {
    /// Reads one, `postgresql://user@host/database` for example. With `authority`, a file of
    /// certificates in PEM, every connection is under TLS with a host that it vouches for; without
    /// one, hosts must be on this machine unless `allow_plaintext`. The password is the first line
    /// of `password_file`, or that of the environment.
    ///
    /// # Errors
    /// What is wrong with it, without what may be secret.
    pub fn parse(
        text: &str,
        password_file: Option<PathBuf>,
        authority: Option<PathBuf>,
        allow_plaintext: bool,
    ) -> Result<Address, String> {
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            format!("this is no address of a database, as postgresql://user@host/database is{why}")
        })?;
        if config.get_password().is_some() {
            let where_else = "a file that password_file names, or the environment's";
            return Err(format!("a password does not belong here, but into {where_else} {PASSWORD}"));
        }
        let known = |what: &str| Err(format!("the address has no {what}, as postgresql://user@host/database has"));
        if config.get_user().is_none() {
            return known("user");
        }
        if config.get_dbname().is_none() {
            return known("database");
        }
        if config.get_hosts().is_empty() {
            return known("host");
        }
        let (hosts, ports) = (config.get_hosts().len(), config.get_ports().len());
        if ports > 1 && ports != hosts || ![0, hosts].contains(&config.get_hostaddrs().len()) {
            return Err("each host has a port and an address of its own, or all have one port".into());
        }
        match (&authority, config.get_ssl_mode()) {
            (Some(_), SslMode::Disable) => return Err("sslmode=disable and an authority exclude each other".into()),
            (None, SslMode::Require) => {
                return Err("sslmode=require needs authority: the certificates that vouch for the host".into());
            }
            _ => {}
        }
        let is_here = |host: &Host| match host {
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
            Host::Unix(_) => true,
        };
        let addresses = config.get_hostaddrs();
        let here = config.get_hosts().iter().all(is_here) && addresses.iter().all(IpAddr::is_loopback);
        if authority.is_none() && !here && !allow_plaintext {
            return Err("a connection to another machine would be neither encrypted nor authenticated: authority \
                        protects it, allow_plaintext permits it"
                .into());
        }
        if authority.is_some() && config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) {
            return Err("a socket of this machine has no TLS: leave authority out".into());
        }
        config.ssl_mode(if authority.is_some() { SslMode::Require } else { SslMode::Disable });
        // One that takes no changes is no use.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("fusion-server");
        }
        Ok(Address { config, password_file, authority })
    }

    /// A connection, with the tables that there have to be, to the first host that will do. Each of
    /// them, and each address of a name, has time of its own: one that is silent is passed over.
    /// Password and authority are read anew each time.
    pub async fn connect(&self) -> Result<Link, Trouble> {
        let verified = self.authority.as_deref().map(Verified::by).transpose()?;
        let password = self.password()?;
        let mut wrong = Vec::new();
        for number in self.order()? {
            let places = match self.in_time(self.places(number)).await {
                Ok(places) => places,
                Err(why) => {
                    wrong.push((self.shown(number), why));
                    continue;
                }
            };
            for mut place in places {
                if let Some(password) = &password {
                    place.password(password);
                }
                match self.link(&place, verified.clone()).await {
                    Ok(link) => return Ok(link),
                    Err(why) => wrong.push((self.shown(number), why)),
                }
            }
        }
        match wrong.pop() {
            Some((_, why)) if wrong.is_empty() => Err(why),
            last => Err(Trouble::Nowhere(wrong.into_iter().chain(last).collect())),
        }
    }

    async fn link(&self, place: &Config, verified: Option<Verified>) -> Result<Link, Trouble> {
        let arrive = async {
            let (client, task) = match verified {
                Some(verified) => {
                    let (client, connection) = place.connect(verified).await?;
                    (client, tokio::spawn(async move { drop(connection.await) }).abort_handle())
                }
                None => {
                    let (client, connection) = place.connect(NoTls).await?;
                    (client, tokio::spawn(async move { drop(connection.await) }).abort_handle())
                }
            };
            let link = Link { client, spoilt: AtomicBool::new(false), _guard: Guard(task) };
            link.batch_execute(SESSION).await?;
            let made = schema::is_made(&link).await?;
            Ok((link, made))
        };
        let (mut link, made) = self.in_time(arrive).await?;
        if !made {
            timeout(MAKE, schema::make(&mut link.client)).await.unwrap_or(Err(Trouble::Late))?;
        }
        Ok(link)
    }

    /// The numbers of the hosts, as they are to be tried.
    fn order(&self) -> Result<Vec<usize>, Trouble> {
        let mut order: Vec<usize> = (0..self.config.get_hosts().len()).collect();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            let chance = getrandom::u32().map_err(|error| Trouble::Unfit(error.to_string()))?;
            let first = chance as usize % order.len();
            order.rotate_left(first);
        }
        Ok(order)
    }

    /// All addresses of the host of this number.
    async fn places(&self, number: usize) -> Result<Vec<Config>, Trouble> {
        let (host, port) = (&self.config.get_hosts()[number], self.port(number));
        let addresses: Vec<Option<IpAddr>> = match (host, self.config.get_hostaddrs().get(number)) {
            (_, Some(address)) => vec![Some(*address)],
            (Host::Unix(_), None) => vec![None],
            (Host::Tcp(name), None) => {
                let found = lookup_host((name.as_str(), port)).await.map_err(Trouble::Name)?;
                found.map(|address| Some(address.ip())).collect()
            }
        };
        if addresses.is_empty() {
            return Err(Trouble::Name(std::io::ErrorKind::NotFound.into()));
        }
        Ok(addresses.into_iter().map(|address| self.place(host, address, port)).collect())
    }

    /// What was read, of one host only.
    fn place(&self, host: &Host, address: Option<IpAddr>, port: u16) -> Config {
        let (all, mut config) = (&self.config, Config::new());
        match host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(path) => config.host_path(path),
        };
        address.map(|address| config.hostaddr(address));
        config.port(port).ssl_mode(all.get_ssl_mode()).ssl_negotiation(all.get_ssl_negotiation());
        config.connect_timeout(self.patience()).keepalives(all.get_keepalives());
        config.keepalives_idle(all.get_keepalives_idle());
        config.target_session_attrs(all.get_target_session_attrs()).channel_binding(all.get_channel_binding());
        all.get_user().map(|user| config.user(user));
        all.get_dbname().map(|name| config.dbname(name));
        all.get_options().map(|options| config.options(options));
        all.get_application_name().map(|name| config.application_name(name));
        all.get_tcp_user_timeout().map(|time| config.tcp_user_timeout(*time));
        all.get_keepalives_interval().map(|time| config.keepalives_interval(time));
        all.get_keepalives_retries().map(|count| config.keepalives_retries(count));
        config
    }

    /// What a host, or the search for its addresses, may take.
    fn patience(&self) -> Duration {
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT)
    }

    async fn in_time<T>(&self, what: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        timeout(self.patience(), what).await.unwrap_or(Err(Trouble::Late))
    }

    fn port(&self, number: usize) -> u16 {
        let ports = self.config.get_ports();
        ports.get(number).or(ports.first()).copied().unwrap_or(5432)
    }

    /// The host of this number, for people.
    fn shown(&self, number: usize) -> String {
        let port = self.port(number);
        match &self.config.get_hosts()[number] {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    }

    fn password(&self) -> Result<Option<String>, Trouble> {
        let Some(path) = &self.password_file else { return Ok(std::env::var(PASSWORD).ok()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Trouble::Unfit(format!("{} cannot be read: {error}", path.display())))?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgreSQL at ")?;
        for number in 0..self.config.get_hosts().len() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}", self.shown(number))?;
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A connection to the database.
pub struct Link {
    client: Client,
    spoilt: AtomicBool,
    _guard: Guard,
}

/// Ends what keeps a connection going, which else might wait for a host that is gone.
struct Guard(AbortHandle);

impl Link {
    /// It is not to be used again.
    pub fn spoil(&self) {
        self.spoilt.store(true, Ordering::Relaxed);
    }

    /// Whether it may be used.
    pub fn stands(&self) -> bool {
        !self.spoilt.load(Ordering::Relaxed) && !self.client.is_closed()
    }
}

impl Deref for Link {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, authority: bool, allow_plaintext: bool) -> Result<Address, String> {
        Address::parse(text, None, authority.then(|| "ca.pem".into()), allow_plaintext)
    }

    #[test]
    fn addresses_lead_to_this_machine_or_are_protected() {
        for (text, authority, allow_plaintext, name) in [
            ("postgresql://ann@localhost/b", false, false, "PostgreSQL at localhost:5432/b"),
            ("postgres://ann@[::1]:99/b", false, false, "PostgreSQL at ::1:99/b"),
            ("postgresql://ann@%2Frun%2Fpostgresql/b", false, false, "PostgreSQL at /run/postgresql:5432/b"),
            ("postgresql://ann@db1:1,db2:2/b", true, false, "PostgreSQL at db1:1,db2:2/b"),
            ("postgresql://ann@192.0.2.1/b?sslmode=require", true, false, "PostgreSQL at 192.0.2.1:5432/b"),
            ("postgresql://ann@db/b", false, true, "PostgreSQL at db:5432/b"),
        ] {
            let address = parse(text, authority, allow_plaintext).unwrap();
            assert_eq!((address.to_string(), format!("{address:?}")), (name.to_owned(), name.to_owned()));
            let mode = address.config.get_ssl_mode();
            assert_eq!(mode, if authority { SslMode::Require } else { SslMode::Disable }, "{text}");
        }
        for (text, authority, why) in [
            ("postgresql://ann@db/b", false, "authority protects it"),
            ("postgresql://ann@127.0.0.1,db/b", false, "authority protects it"),
            ("host=localhost hostaddr=192.0.2.1 user=ann dbname=b", false, "authority protects it"),
            ("postgresql://ann@db/b?sslmode=require", false, "needs authority"),
            ("postgresql://ann@db/b?sslmode=disable", true, "exclude each other"),
            ("postgresql://ann@%2Frun%2Fpostgresql/b", true, "has no TLS"),
            ("postgresql://db/b", true, "has no user"),
            ("postgresql://ann@db", true, "has no database"),
            ("postgresql://ann@/b", true, "has no host"),
            ("postgresql://ann@db1:1,db2:2,db3/b?port=7", true, "a port and an address of its own"),
            ("postgresql://ann@db/b?what=else", true, "unknown option `what`"),
            ("b.redb", true, "no address of a database"),
        ] {
            let said = parse(text, authority, false).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in ["postgresql://ann:hunter2@localhost/b", "host=localhost user=ann dbname=b password=hunter2"] {
            let said = parse(text, false, false).unwrap_err();
            assert!(
                said.contains("password_file") && said.contains("PGPASSWORD") && !said.contains("hunter2"),
                "{said}"
            );
        }
        let broken = parse("postgresql://ann:hunter2@localhost:port/b", false, false).unwrap_err();
        assert!(!broken.contains("hunter2"), "{broken}");
    }
}
