FROM rust:1-slim-bookworm AS build
# The TLS library of the webhooks compiles a little C.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --locked --release

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin pgstream
COPY --from=build /source/target/release/pgstream /usr/local/bin/pgstream
USER pgstream
# The subscription server listens on loopback, where the port cannot be published, unless it is told otherwise.
EXPOSE 9900
ENTRYPOINT ["pgstream"]
