// Verifylog checks a Safelane message log over HTTP with golang.org/x/mod's note and tlog packages, unchanged: an implementation that
// shares nothing with ours. It reads tiles alone and believes the verifier key that it is given, nothing that the hub says.
//
//	verifylog -url http://host/log -key 'name+id+base64' [-old checkpoint-file] [-entry position:hex ...] [-witness 'name+id+base64' ...]
//
// It exits with 0 and one line for each thing that it has verified, or with 1 and what does not hold.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8 // C2SP tlog-tiles fixes it

// A checkpoint is a signed tree head in C2SP tlog-checkpoint form: origin, size, root, each on a line.
type checkpoint struct {
	origin string
	tree   tlog.Tree
}

// tiles reads C2SP tlog-tiles paths, which are tlog's own (tile/8/L/N) without the height.
type tiles struct{ url string }

func (t tiles) Height() int { return tileHeight }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := fetch(t.url + "/" + path)
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s is %d bytes long", path, len(data))
		}
		found = append(found, data)
	}
	return found, nil
}

var client = http.Client{Timeout: 20 * time.Second}

func fetch(url string) ([]byte, error) {
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, 1<<25))
}

// A cosigner verifies C2SP tlog-cosignatures of type 0x04 (Ed25519), which package note does not know. Type 0x06 (ML-DSA-44) is passed over, as
// note passes over every signature that no verifier asks for.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string { return c.name }

func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature), text)
	return ed25519.Verify(c.key, []byte(signed), signature[8:])
}

func newCosigner(text string) (cosigner, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return cosigner{}, errors.New("is not a verifier key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 4 {
		return cosigner{}, errors.New("is not a witness's Ed25519 key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return cosigner{}, errors.New("has an id that is not its own")
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), raw[1:]}, nil
}

// checkWitnesses requires a cosignature by each witness on the newest checkpoint that a quorum has cosigned.
func checkWitnesses(url string, verifier note.Verifier, witnesses []cosigner) error {
	signed, err := fetch(url + "/checkpoint/witnessed")
	if err != nil {
		return err
	}
	newest, err := openCheckpoint(signed, verifier)
	if err != nil {
		return err
	}
	for _, witness := range witnesses {
		opened, err := note.Open(signed, note.VerifierList(witness))
		if err != nil {
			return fmt.Errorf("%s: %w", witness.name, err)
		}
		fmt.Printf("the log of %d entries is cosigned by %s; %d other signatures\n", newest.tree.N, witness.name, len(opened.UnverifiedSigs))
	}
	return nil
}

func openCheckpoint(signed []byte, verifier note.Verifier) (checkpoint, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return checkpoint{}, err
	}
	lines := strings.SplitN(opened.Text, "\n", 4)
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return checkpoint{}, errors.New("is not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return checkpoint{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return checkpoint{lines[0], tlog.Tree{N: size, Hash: root}}, err
}

// readEntry returns an entry from its bundle: each is preceded by its length as a big-endian uint16.
func readEntry(url string, tree tlog.Tree, position int64) ([]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: 0, N: position / 256, W: 256}
	if last := tree.N - tile.N*256; last < 256 {
		tile.W = int(last)
	}
	path := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	data, err := fetch(url + "/" + path)
	if err != nil {
		return nil, err
	}
	for at := position % 256; ; at-- {
		if len(data) < 2 || len(data) < 2+int(data[0])<<8+int(data[1]) {
			return nil, fmt.Errorf("%s ends too early", path)
		}
		length := int(data[0])<<8 + int(data[1])
		if at == 0 {
			return data[2 : 2+length], nil
		}
		data = data[2+length:]
	}
}

func checkEntry(url string, tree tlog.Tree, wanted string) error {
	place, text, _ := strings.Cut(wanted, ":")
	position, err := strconv.ParseInt(place, 10, 64)
	if err != nil {
		return err
	}
	entry, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveRecord(tree.N, position, tlog.TileHashReader(tree, tiles{url}))
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, position, tlog.RecordHash(entry)); err != nil {
		return err
	}
	served, err := readEntry(url, tree, position)
	if err != nil {
		return err
	}
	if !bytes.Equal(served, entry) {
		return errors.New("another entry is served than is proven")
	}
	fmt.Printf("entry %d is in the log\n", position)
	return nil
}

func checkGrowth(url string, signed []byte, verifier note.Verifier, tree tlog.Tree) error {
	old, err := openCheckpoint(signed, verifier)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveTree(tree.N, old.tree.N, tlog.TileHashReader(tree, tiles{url}))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.tree.N, old.tree.Hash); err != nil {
		return err
	}
	fmt.Printf("the log of %d entries begins with that of %d\n", tree.N, old.tree.N)
	return nil
}

func run() error {
	var entries []string
	var witnesses []cosigner
	url := flag.String("url", "", "URL of the log, without a slash at the end")
	key := flag.String("key", "", "the log's verifier key")
	old := flag.String("old", "", "file with an earlier signed checkpoint")
	flag.Func("entry", "position:hexadecimal bytes of an entry; may be repeated", func(text string) error {
		entries = append(entries, text)
		return nil
	})
	flag.Func("witness", "verifier key of a witness (Ed25519); may be repeated", func(text string) error {
		witness, err := newCosigner(text)
		witnesses = append(witnesses, witness)
		return err
	})
	flag.Parse()
	verifier, err := note.NewVerifier(*key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	signed, err := fetch(*url + "/checkpoint")
	if err != nil {
		return err
	}
	newest, err := openCheckpoint(signed, verifier)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	fmt.Printf("checkpoint of %d entries is signed by %s\n", newest.tree.N, newest.origin)
	for _, entry := range entries {
		if err := checkEntry(*url, newest.tree, entry); err != nil {
			return fmt.Errorf("entry: %w", err)
		}
	}
	if *old != "" {
		earlier, err := os.ReadFile(*old)
		if err != nil {
			return err
		}
		if err := checkGrowth(*url, earlier, verifier, newest.tree); err != nil {
			return fmt.Errorf("growth: %w", err)
		}
	}
	if len(witnesses) > 0 {
		if err := checkWitnesses(*url, verifier, witnesses); err != nil {
			return fmt.Errorf("witness: %w", err)
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "verifylog:", err)
		os.Exit(1)
	}
}
