#!/bin/sh
# Shows s6-tlsd, s6-tlsclient and s6-tlsserver at work: a certificate, a server, clients, and what
# the server said; then a server that stays, and gets a new certificate. Every command is printed as you would type it. Leaves nothing behind.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/build:$here/demo:$PATH
unset https_proxy HTTPS_PROXY all_proxy ALL_PROXY SSL_CERT_FILE 2>/dev/null || :

dir=$(mktemp -d)
server=
super=
clean_up() {
	code=$?
	trap - EXIT
	for pid in $server $super; do
		kill "$pid" && wait "$pid" || :
	done
	cd / && rm -rf "$dir"
	[ $code = 0 ] || echo "demo.sh: failed" >&2
	exit $code
}
trap clean_up EXIT
trap 'exit 1' HUP INT PIPE TERM
cd "$dir"

say() {
	printf '\n# %s\n' "$*"
}

# Prints a command, then runs it.
run() {
	printf '$ %s\n' "$1"
	eval "$1"
}

# Waits, ten seconds at most, until the command $1 succeeds.
until_true() {
	tries=100
	until eval "$1"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || { echo "demo.sh: waited too long for: $1" >&2; exit 1; }
		sleep 0.1
	done
}

say 'A certificate for localhost, from an authority that lives as long as this demo.'
run 'openssl req -x509 -days 1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc \
    -subj "/CN=demo authority" -keyout ca.key -out ca.pem'
run 'openssl req -x509 -days 1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc \
    -subj "/CN=localhost" -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE \
    -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem'

say 'The program to be served reads and writes in clear, on its stdin and stdout.'
run "printf 'GET / HTTP/1.1\r\n\r\n' | hello-http"

say 'Behind s6-tlsd it is a web server with TLS. tcpserver takes the connections (port 0: any free one).'
run 'export KEYFILE=server.key CERTFILE=server.pem'
if [ "$(id -u)" = 0 ]; then
	run 'export TLS_UID=65534 TLS_GID=65534' # root may have TLS done by another user
fi
run 'tcpserver -1RHl localhost 127.0.0.1 0 s6-tlsd -v2 hello-http >port 2>log &'
server=$!
until_true '[ -s port ]'
port=$(cat port)

say "It listens on port $port. Two clients that trust the authority:"
run "curl --silent --show-error --cacert ca.pem https://localhost:$port/" | tee curl.out
grep -q '^Hello.*TLSv1' curl.out
run "openssl s_client -brief -verify_return_error -verify_hostname localhost -CAfile ca.pem \\
    -connect localhost:$port -servername localhost </dev/null" 2>&1 | tee s_client.out
grep -q '^Verification: OK' s_client.out

say 's6-tlsclient is a third one: it connects its stdin and stdout, and -v tells whom it speaks to.'
run 'export CAFILE=ca.pem'
run "printf 'GET / HTTP/1.1\r\n\r\n' | s6-tlsclient -v localhost $port" 2>&1 | tee pipe.out
grep -q '^Hello.*TLSv1' pipe.out
grep -q 'event=handshake.*names="localhost" expires=' pipe.out

say 'With a program, the connection is on its descriptors 6 and 7, in clear.'
run "s6-tlsclient localhost $port sh -c '
    printf \"GET / HTTP/1.1\\r\\n\\r\\n\" >&7
    cat <&6
    echo \"That was \$SSL_PEER_CERT_SUBJECT, port \$TCPREMOTEPORT of \$TCPREMOTEIP.\"'" | tee prog.out
grep -q "^That was CN=localhost, port $port of " prog.out

say 'A server whose certificate bears another name than the one that is asked for gets nothing.'
run "s6-tlsclient -k example.org localhost $port </dev/null || echo \"exit code \$?\"" 2>&1 | tee other.out
grep -q '^exit code 98' other.out

say 'And this is what s6-tlsd said of all these connections, as -v2 asks it to:'
until_true '[ "$(grep -c "event=end" log)" = 5 ]'
run 'cat log'

say 's6-tlsserver does the work of tcpserver and s6-tlsd, for all connections, from one process that stays.'
run 's6-tlsserver -1v localhost 0 hello-http >port2 2>log2 &'
super=$!
until_true '[ -s port2 ]'
port=$(cat port2)
run "curl --silent --show-error --cacert ca.pem https://localhost:$port/" | tee curl.out
grep -q '^Hello.*TLSv1' curl.out

say 'A new key and certificate, which bears a second name:'
run 'openssl req -x509 -days 1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc \
    -subj "/CN=localhost" -addext subjectAltName=DNS:localhost,DNS:new.localhost -addext basicConstraints=CA:FALSE \
    -CA ca.pem -CAkey ca.key -keyout new.key -out new.pem'
run 'mv new.key server.key && mv new.pem server.pem'

say 'New connections have it within a second; nothing was restarted. The client below insists on the new name.'
until_true 'grep -q event=reload log2'
run "printf 'GET / HTTP/1.1\r\n\r\n' | s6-tlsclient -v -k new.localhost localhost $port" 2>&1 | tee new.out
grep -q '^Hello.*TLSv1' new.out
grep -q 'event=handshake.*names="localhost,new.localhost"' new.out

say 'On SIGTERM it takes no more connections, waits for those that are there, and exits 0. This is what it said:'
run "kill -TERM $super && wait $super && cat log2"
super=
