package countersign

# review may only deny. It runs at each review, with the person who reviews, and
# again when the credential is redeemed, without: what the policy refuses by then
# is refused although people approved.

review := {"deny": false, "reasons": []} if {
	permitted
	objections == set()
} else := {
	"deny": true,
	"reasons": (denials | objections),
}

objections contains "whoever triggered a run may not review it" if {
	input.trigger.kind == "person"
	input.person.id == input.trigger.person
}

objections contains "whoever triggered the run has approved it" if {
	input.trigger.kind == "person"
	some review in input.reviews
	review.verdict == "approve"
	review.person == input.trigger.person
}

objections contains sprintf("an owner of %s may approve only after somebody who is not one", [
	input.service_account.name,
]) if {
	terms.owners == "with_another"
	input.person.id in input.service_account.owners
	count(independent) == 0
}

objections contains sprintf("only owners of %s have approved", [input.service_account.name]) if {
	terms.owners == "with_another"
	not input.person
	count(approvals) > 0
	count(independent) == 0
}

approvals contains review.person if {
	some review in input.reviews
	review.verdict == "approve"
}

independent contains person if {
	some person in approvals
	not person in input.service_account.owners
}
