module weir/tests/bench/limiters

go 1.26.0

require (
	github.com/throttled/throttled/v2 v2.15.0
	golang.org/x/time v0.16.0
	weir v0.0.0
	weir/tests/bench v0.0.0
)

require (
	github.com/dchest/siphash v1.2.3 // indirect
	github.com/hashicorp/golang-lru v1.0.2 // indirect
)

replace (
	weir => ../../..
	weir/tests/bench => ..
)
