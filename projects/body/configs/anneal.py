_base_ = '../../../configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-128x128.py'

# from the long run's averaged weights, with a fresh optimizer, to zero
train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=40),
    dict(
        type='PolyLR', power=1, eta_min=0, begin=0, end=4, by_epoch=True, convert_to_iter_based=True
    ),
]

# averaged over about an epoch
custom_hooks = _base_.custom_hooks
custom_hooks[1].momentum = 0.004
