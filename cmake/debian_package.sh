#!/bin/sh
# debian_package.sh PACKAGE SUITE FOLDER
#
# Unpacks a Debian package of a suite the machine does not use, such as bookworm-backports, into
# FOLDER. Needs no root and changes nothing on the system: apt-get works on a sources list, a state
# and a cache of its own. Mirror, proxies and credentials are the machine's.
set -eu
package=$1 suite=$2 folder=$3

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
own=$(mktemp -d "$folder/apt.XXXXXX")
trap 'rm -rf "$own"' EXIT
mkdir -p "$own/lists/partial" "$own/cache/archives/partial"

# The mirror that serves this release here; deb.debian.org where none is known.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' |
  awk -v release="${suite%%-*}" '$2 == release && $3 == "main" && $4 == "Debian" { print $1; exit }')
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $suite main" > "$own/sources.list"

# The machine's configuration without its hooks, which refresh system-wide catalogues.
apt-config dump | grep -v 'Invoke' > "$own/apt.conf"
cat >> "$own/apt.conf" <<CONFIG
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$own/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "$own";
Dir::State::Lists "$own/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$own/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
CONFIG
export APT_CONFIG="$own/apt.conf"

apt-get -qq update
(cd "$own" && apt-get -qq download "$package")
dpkg -x "$own/$package"_*.deb "$folder"
