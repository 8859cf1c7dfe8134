// Package ppo aligns a policy to a score under a KL penalty.
