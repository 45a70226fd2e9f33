package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/store/audit"
)

// Each case spoils in one place a story of which TestLegalStories says that it
// is legal. seq is the entry that must be
// named, want a part of the reason.
func TestIllegalStories(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		name  string
		legal func() []line
		spoil func(s []line) []line
		seq   uint64
		want  string
	}{
		{"not asked", allowed, func(s []line) []line { return s[1:] }, 0, "was not asked"},
		{"asked by somebody else's machine", allowed, func(s []line) []line { s[0].by.ID = "other"; return s }, 0, "for the account"},
		{"asked by a person", allowed, func(s []line) []line { s[0].by = person("ci"); return s }, 0, "for the account"},
		{"asked without a digest", allowed, func(s []line) []line { delete(s[0].data, "digest"); return s }, 0, "digest"},
		{"asked with a member unknown here", allowed, func(s []line) []line { s[0].data["more"] = 1; return s }, 0, "unknown"},
		{"asked with a digest that is none", allowed, func(s []line) []line { s[0].data["digest"] = "AA"; return s }, 0, "SHA-256"},
		{"asked twice", pending, func(s []line) []line { return append(s, asked()) }, 2, "pending"},
		{"not decided", pending, func(s []line) []line { return s[:1] }, 1, `"decided" of req_1 must follow`},
		{"decided later", pending, func(s []line) []line {
			other := asked()
			other.request = "req_2"
			return slices.Insert(s, 1, other)
		}, 2, "at once"},
		{"decided by a person", pending, func(s []line) []line { s[1].by = person("p_a"); return s }, 1, "by person"},
		{"decided by another revision", pending, func(s []line) []line { s[1].data["revision"] = "rev2"; return s }, 1, "revision"},
		{"decided twice", pending, func(s []line) []line { return append(s, s[1]) }, 2, "pending"},
		{"an unknown effect", pending, func(s []line) []line { s[1].data["effect"] = "maybe"; return s }, 1, "effect"},
		{"a review without stages", pending, func(s []line) []line { delete(s[1].data, "stages"); return s }, 1, "stages"},
		{"a review without deadline", pending, func(s []line) []line { delete(s[1].data, "deadline"); return s }, 1, "deadline"},
		{"a stage that needs nobody", pending, func(s []line) []line { s[1] = decided("review", gate(0, false, "p_a")); return s }, 1, "needs 0"},
		{"allowed and stages", allowed, func(s []line) []line { s[1].data["stages"] = []m{gate(1, false, "p_a")}; return s }, 1, "stages"},
		{"denied by policy and approved", allowed, func(s []line) []line { s[1] = decided("deny"); return s }, 2, `"denied" must follow`},
		{"allowed and not approved", allowed, func(s []line) []line { return s[:2] }, 2, `"approved" of req_1 must follow`},
		{"allowed, approved by a person", allowed, func(s []line) []line { s[2].by = person("p_a"); return s }, 2, "by person"},
		{"allowed, approved by another revision", allowed, func(s []line) []line { s[2].by.ID = "rev2"; return s }, 2, "rev2"},

		{"approved without any review", oneStage, func(s []line) []line { return slices.Delete(s, 2, 4) }, 2, "pending"},
		{"approved one too early", oneStage, func(s []line) []line { return slices.Delete(s, 2, 3) }, 3, "pending"},
		{"approved by policy after reviews", oneStage, func(s []line) []line { s[4].by = policy; return s }, 4, "by policy"},
		{"approved by another person", oneStage, func(s []line) []line { s[4].by = person("p_a"); return s }, 4, `"p_a"`},
		{"complete and not approved", oneStage, func(s []line) []line { return s[:4] }, 4, "must follow"},
		{"complete and expired", oneStage, func(s []line) []line { s[4] = over("expired", "deadline", clock, "", time.Hour); return s }, 4, "must follow"},
		{"reviewed by a stranger", oneStage, func(s []line) []line { s[3] = reviewed("p_x", "approve", 0); return s }, 3, "may not review"},
		{"reviewed by a stranger of another group", joined, func(s []line) []line { s[3].data["groups"] = []string{"other"}; return s }, 3, "may not review"},
		{"reviewed by a stranger of no group", joined, func(s []line) []line { delete(s[3].data, "groups"); return s }, 3, "may not review"},
		{"reviewed by somebody excluded", oneStage, func(s []line) []line { s[1].data["excluded"] = []string{"p_b"}; return s }, 3, "may not review"},
		{"reviewed by somebody excluded, of the group", joined, func(s []line) []line { s[1].data["excluded"] = []string{"p_new"}; return s }, 3, "may not review"},
		{"allowed, an action of nobody's", allowed, func(s []line) []line { delete(s[0].data, "action"); return s }, 1, "not one of the account's"},
		{"reviewed by the trigger", oneStage, func(s []line) []line { s[3] = reviewed("p_trigger", "approve", 0); return s }, 3, "their own run"},
		{"reviewed twice by one person", oneStage, func(s []line) []line { s[3] = reviewed("p_a", "approve", 0); return s }, 3, "twice"},
		{"reviewed by a machine", oneStage, func(s []line) []line { s[3].by.Kind = "machine"; return s }, 3, "not by a person"},
		{"reviewed another digest", oneStage, func(s []line) []line { s[3].data["digest"] = digestB; return s }, 3, "digest differs"},
		{"reviewed a stage that is not open", oneStage, func(s []line) []line { s[3].data["stage"] = 1; return s }, 3, "stage 0 is open"},
		{"an unknown verdict", oneStage, func(s []line) []line { s[3].data["verdict"] = "perhaps"; return s }, 3, "verdict"},
		{"reviewed after the deadline", oneStage, func(s []line) []line { s[3].after = 2 * time.Hour; return s }, 3, "after the deadline"},
		{"a second stage skipped", twoStages, func(s []line) []line { s[4].by = person("p_a"); return slices.Delete(s, 3, 4) }, 3, "pending"},
		{"a distinct stage by the same person", twoStages, func(s []line) []line { s[3] = reviewed("p_a", "approve", 1); return s }, 3, "somebody else"},
		{"turned down and approved", turnedDown, func(s []line) []line { s[4] = approved(person("p_b")); return s }, 4, `"denied" must follow`},
		{"turned down, and nothing follows", turnedDown, func(s []line) []line { return s[:4] }, 4, "must follow"},
		{"turned down by another", turnedDown, func(s []line) []line { s[4].by = person("p_a"); return s }, 4, `"p_a"`},
		{"denied by a person who did not review", pending, func(s []line) []line { return append(s, denied(person("p_a"))) }, 2, "pending"},
		{"denied by policy after a review", pending, func(s []line) []line { return append(s, denied(policy)) }, 2, "pending"},
		{"more granted than asked", oneStage, func(s []line) []line { s[4].data["scopes"] = []string{"a", "c"}; return s }, 4, "more was granted"},
		{"granted for longer than asked", oneStage, func(s []line) []line { s[4].data["ttl"] = "16m0s"; return s }, 4, "more was granted"},
		{"approved without a grant", oneStage, func(s []line) []line { delete(s[4].data, "grant"); return s }, 4, "grant"},

		{"expired by a person", pending, func(s []line) []line { return append(s, over("expired", "deadline", person("p_a"), "", time.Hour)) }, 2, "clock"},
		{"expired too early", pending, func(s []line) []line { return append(s, over("expired", "deadline", clock, "", time.Minute)) }, 2, "before the deadline"},
		{"expired for another cause", pending, func(s []line) []line { return append(s, over("expired", "whim", clock, "", time.Hour)) }, 2, "cause"},
		{"cancelled by another machine", pending, func(s []line) []line {
			return append(s, line{kind: "cancelled", by: audit.Actor{Kind: "machine", ID: "x"}})
		}, 2, "machine that asked"},
		{"cancelled after approval", oneStage, func(s []line) []line { return append(s, line{kind: "cancelled", by: machine}) }, 5, "approved"},
		{"issued while pending", pending, func(s []line) []line { return append(s, issued(1, "")) }, 2, "pending"},
		{"issued after denial", turnedDown, func(s []line) []line { return append(s, issued(1, "")) }, 5, "has ended"},
		{"issued after the end", redeemed, func(s []line) []line {
			return append(s, over("ended", "expired", clock, "", 10*time.Minute), issued(2, "j1"))
		}, 7, "has ended"},
		{"issued after revocation", redeemed, func(s []line) []line {
			return append(s, over("revoked", "machine", machine, "j1", 0), issued(2, "j1"))
		}, 7, "has ended"},
		{"an unknown entry", pending, func(s []line) []line { return append(s, line{kind: "approved_quietly", by: clock}) }, 2, "pending"},

		{"issued by another machine", redeemed, func(s []line) []line { s[5].by.ID = "x"; return s }, 5, "machine that asked"},
		{"issued under another grant", redeemed, func(s []line) []line { s[5].data["grant"] = digestA; return s }, 5, "another grant"},
		{"issued with more scopes", redeemed, func(s []line) []line { s[5].data["scopes"] = []string{"a", "b"}; return s }, 5, "not granted"},
		{"issued without scopes", redeemed, func(s []line) []line { s[5].data["scopes"] = []string{}; return s }, 5, "without"},
		{"issued for another audience", redeemed, func(s []line) []line { s[5].data["audience"] = "gcp"; return s }, 5, "audience"},
		{"issued for too long", redeemed, func(s []line) []line { s[5].data["expires"] = stamp(11 * time.Minute); return s }, 5, "longer than was granted"},
		{"the first replaces something", redeemed, func(s []line) []line { s[5].data["replaces"] = "j0"; return s }, 5, "first issue"},
		{"issued four times", thrice, func(s []line) []line { return append(s, issued(4, "j3")) }, 8, "more than 3"},
		{"issued again too late", thrice, func(s []line) []line { s[7].after = 2 * time.Minute; return s }, 7, "after the first time"},
		{"issued again without replacing", thrice, func(s []line) []line { s[7].data["replaces"] = "j1"; return s }, 7, "without replacing"},
		{"issued again with a later expiry", thrice, func(s []line) []line { s[5].data["expires"] = stamp(9 * time.Minute); return s }, 6, "later expiry"},
		{"issued again under the same id", thrice, func(s []line) []line { s[7].data["jti"] = "j1"; return s }, 7, "issued twice"},
		{"issued again, the same bytes", thrice, func(s []line) []line { s[7].data["sha256"] = s[5].data["sha256"]; return s }, 7, "issued twice"},

		{"ended by the machine", redeemed, func(s []line) []line { return append(s, over("ended", "expired", machine, "", 10*time.Minute)) }, 6, "clock"},
		{"ended too early", redeemed, func(s []line) []line { return append(s, over("ended", "expired", clock, "", time.Minute)) }, 6, "before the credential expired"},
		{"ended as unused", redeemed, func(s []line) []line { return append(s, over("ended", "unused", clock, "", 10*time.Minute)) }, 6, "unused"},
		{"ended for another cause", redeemed, func(s []line) []line { return append(s, over("ended", "whim", clock, "", 10*time.Minute)) }, 6, "cause"},
		{"revoked by another machine", redeemed, func(s []line) []line {
			return append(s, over("revoked", "machine", audit.Actor{Kind: "machine", ID: "x"}, "j1", 0))
		}, 6, "machine that asked"},
		{"revoked by a person who is a machine", redeemed, func(s []line) []line { return append(s, over("revoked", "person", machine, "j1", 0)) }, 6, "actor"},
		{"revoked for another cause", redeemed, func(s []line) []line { return append(s, over("revoked", "whim", machine, "j1", 0)) }, 6, "cause"},
		{"revoked another credential", thrice, func(s []line) []line { return append(s, over("revoked", "machine", machine, "j2", 0)) }, 8, "newest"},
		{"revoked while pending", pending, func(s []line) []line { return append(s, over("revoked", "machine", machine, "", 0)) }, 2, "pending"},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.tell(t, one.spoil(one.legal()))
			folder, key := w.export(t)
			code, out, r := verify(t, "--key", key, "--output", "json", folder)
			if code != exitFault || r.OK || r.Seq == nil || *r.Seq != one.seq || !strings.Contains(r.Fault, one.want) {
				t.Errorf("exit %d, want entry %d, %q: %s", code, one.seq, one.want, out)
			}
			if _, out, _ := verify(t, "--key", key, folder); !strings.HasPrefix(out, "NOT in order, first at entry ") {
				t.Errorf("as text: %s", out)
			}
		})
	}
}
