//! Any text, and any URL that was read.

use proptest::prelude::*;

use super::*;

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z][a-z0-9.-]{0,9}".prop_map(|name| tcp(&name)),
        "/[^\0]{0,9}".prop_map(|folder| unix(&folder)),
        Just(tcp("::1")),
    ]
}

/// Any TLS options that do not contradict themselves.
fn tls() -> impl Strategy<Value = TlsOptions> {
    let roots = prop_oneof![
        Just(Roots::None),
        Just(Roots::System),
        "/[^\0]{0,9}".prop_map(|path| Roots::File(path.into()))
    ];
    let client = proptest::option::of(("/[^\0]{0,9}", "/[^\0]{0,9}"));
    let choices = (
        proptest::sample::select(SslMode::ALL),
        proptest::sample::select(SslNegotiation::ALL),
        proptest::sample::select(ChannelBinding::ALL),
    );
    let options =
        (choices, roots, client).prop_map(|((mode, negotiation, binding), roots, client)| TlsOptions {
            mode: mode.1,
            negotiation: negotiation.1,
            roots,
            client: client.map(|(certificate, key)| ClientCertificate {
                certificate: certificate.into(),
                key: key.into(),
            }),
            channel_binding: binding.1,
        });
    options.prop_filter("contradicts itself", |options| {
        let TlsOptions { mode, roots, .. } = options;
        (*roots != Roots::System || *mode == SslMode::VerifyFull)
            && (*roots != Roots::None || !mode.verifies())
            && (options.negotiation == SslNegotiation::Postgres || mode.insists())
            && (options.channel_binding != ChannelBinding::Require || *mode != SslMode::Disable)
    })
}

fn tcp_options() -> impl Strategy<Value = TcpOptions> {
    let number = |most: u32| proptest::option::of(1..=most);
    (
        any::<bool>(),
        number(32_767),
        number(32_767),
        number(127),
        number(i32::MAX as u32),
    )
        .prop_map(|(keepalives, idle, interval, count, user)| {
            let seconds = |number: u32| Duration::from_secs(number.into());
            TcpOptions {
                keepalives,
                idle: idle.map(seconds),
                interval: interval.map(seconds),
                count,
                user_timeout: user.map(|number| Duration::from_millis(number.into())),
            }
        })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(postgres://)?[a-z0-9:/?#@&=%\\[\\],. ]*") {
        let _ = read(&text);
    }

    #[test]
    fn any_parameter_is_read_or_refused(
        name in "(ssl(mode|rootcert|cert|key|negotiation)|channel_binding|target_session_attrs|host|port|keepalives|[a-z]{1,5})",
        value in "[a-z0-9,/%-]{0,8}",
    ) {
        let _ = read(&format!("postgres://h?{name}={value}"));
    }

    #[test]
    fn what_is_printed_reads_the_same_again(
        user in "[^\0]{1,9}",
        dbname in "[^\0]{1,9}",
        addresses in proptest::collection::vec((host(), 1u16..), 1..4),
        attrs in proptest::sample::select(TargetSessionAttrs::ALL),
        application_name in proptest::option::of("[^\0]{1,9}"),
        connect_timeout in proptest::option::of(1u32..),
        tls in tls(),
        tcp in tcp_options(),
    ) {
        let servers = addresses.into_iter().map(|(host, port)| Server { host, port, password: None });
        let url = PgUrl {
            servers: servers.collect(),
            target_session_attrs: attrs.1,
            connect_timeout: connect_timeout.map(|seconds| Duration::from_secs(seconds.into())),
            user, dbname, application_name, tls, tcp,
        };
        prop_assert_eq!(read(&url.to_string()), Ok(url));
    }
}
