Feature: Install the bootstrap node from the medium
  An operator has a minimal Debian, the medium, and a network that leads nowhere.

  Background:
    Given a host with the medium and no way out

  @container
  Scenario: A medium that somebody changed is refused
    When bootstrap.sh is run from a medium with a changed file
    Then it fails at "Verify the medium"
    And it names the changed file of the medium
    And it says how to go on
    And nothing was installed

  @container
  Scenario: After a power failure the installation is run again
    Given the power failed while bootstrap.sh installed the host
    When bootstrap.sh is run again
    Then it ends well
    And every step is done
    And the host is the bootstrap node

  @vm
  Scenario: The host becomes the bootstrap node
    When bootstrap.sh is run
    Then it ends well
    And every step is done
    And the host is the bootstrap node

  @container
  Scenario: A second run changes nothing
    Given the bootstrap node
    When bootstrap.sh is run again
    Then it ends well
    And it says that everything holds and nothing was changed

  @container
  Scenario: Another run puts right what somebody changed
    Given the bootstrap node
    And somebody wrote into the configuration of etcd
    And somebody removed the password of Salt's API
    When bootstrap.sh is run again
    Then it ends well
    And the configuration of etcd is that of before
    And the password of Salt's API is another one
    And with the password the API has Salt reach the node

  @container
  Scenario: All that is wrong with the configuration is told at once
    Given the bootstrap node
    And this configuration:
      """
      apiVersion: v1
      kind: Node
      networks: {controlPlane: here}
      archive: []
      """
    When bootstrap.sh is run again
    Then it fails at "Check the configuration"
    And it names all of these in the configuration:
      | problem                                       |
      | apiVersion: must be                           |
      | kind: must be                                 |
      | ca.minion: must be                            |
      | networks.workloadPlane: must be               |
      | networks.controlPlane: 'here' does not appear |
      | archive: unknown key                          |
      | archives: must be                             |
