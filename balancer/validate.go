package balancer

// Validate returns the faults that New and Reconfigure would find in c with these hooks, joined, or nil.
func (c *Config) Validate(h Hooks) error {
	_, err := c.check(&h)
	return err
}
