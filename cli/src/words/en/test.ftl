# What `genkan test` says. The other languages have the same messages with the same arguments.

test-running = running { $count } tests of { $file } (rules: { $configuration })
test-one = test { $name } ... { $outcome }
test-ok = ok
test-failed = FAILED
test-failures = failures:
test-expected = expected: { $text }
test-seen = but:      { $text }
test-step = in step { $step }, { $place }
test-traced = What a simulated router with the same configuration makes of the same steps; it goes wrong there as well:
test-traced-otherwise = What a simulated router with the same configuration makes of the same steps; it does not go wrong in this step there, so look at what really passed:
test-capture = all frames: { $file }
test-summary = test result: { $outcome }. { $passed } passed; { $failed } failed; { $left_out } left out; finished in { $time } s

test-coverage = rules of { $file } that a test touches: { $covered } of { $all }
test-uncovered = not touched: { $kind } { $name }  ({ $place })

test-expect-reaches-any = it arrives, and its answer comes back
test-expect-reaches = it arrives at { $target }, and its answer comes back
test-expect-hairpin = it goes out and comes in again (hairpin), and arrives at { $target }
test-expect-source = the target sees the source { $source }
test-expect-reply = the answer comes from { $source }
test-expect-refused-any = it does not arrive
test-expect-refused = it does not arrive, because of { $reason }
test-expect-closed = it does not arrive, because the forward { $state }
test-expect-answered = the router answers it itself
test-expect-open = the connection is still open
test-expect-ended = the connection has ended
test-expect-mapping = { $behavior } mapping (RFC 4787 section 4.1)
test-expect-filtering = { $behavior } filtering (RFC 4787 section 5)
test-expect-passes = { $count } of { $all } connections arrive

test-seen-silence = it does not arrive
test-seen-dropped = it is dropped, { $counter }: { $reason }
test-seen-arrived = it arrives at { $target }, which sees the source { $source }
test-seen-answered = the router answers it itself
test-seen-no-hairpin = it arrives at { $target }, but not by a hairpin
test-seen-no-reply = it arrives at { $target }, but the answer does not come back
test-seen-target = it arrives at { $target }
test-seen-source = the target sees the source { $source }
test-seen-reply = the answer comes from { $source }
test-seen-closed = it does not arrive, but the forward { $state }
test-seen-mapping = { $behavior } mapping
test-seen-filtering = { $behavior } filtering
test-seen-passed = { $count } of { $all } connections arrive

test-state-open = is open
test-state-disabled = is disabled
test-state-expired = has expired
test-state-out-of-hours = is out of its hours
test-state-clock-unknown = has a schedule, and the clock cannot be right
test-state-absent = leads to a device that is not there

test-offline-only = offline only: { $reason }
test-offline-count = { $count } tests cannot be done with a real router; without --live they can.
test-offline-wan = the gateway is not on the link of the wan
test-offline-date = it depends on the date and time
test-offline-time = hours or minutes would have to pass
test-offline-many = it takes more addresses or connections than are made here
test-offline-devices = the other configuration has other devices or networks
test-offline-direct = sender and receiver are on the same side: their packets would not pass the router
test-offline-ports = programs cannot go on with connections without ports
