# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY .cargo .cargo
COPY src src
COPY benches benches
COPY examples examples
COPY tests tests
RUN cargo build --release --locked --bin strata && strip target/release/strata

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --uid 10001 strata && install -d -o strata /data
COPY --from=build /src/target/release/strata /usr/local/bin/strata
USER strata
WORKDIR /data
# The disk tier. Without a volume it goes with the container.
ENV STRATA_TIER_DIR=/data
VOLUME /data
EXPOSE 6379
# In a container clients come from outside, so it listens everywhere. Protected mode refuses them until a password is set
# (STRATA_REQUIREPASS) or it is switched off.
ENTRYPOINT ["strata", "--bind", "*"]
